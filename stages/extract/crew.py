"""Extraction by many processes: each turns whole shards into temporary files (see stages.crew)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from cache.errors import UserError
from stages.crew import Crew, require_seen, work_by_crew
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.shard import Finished, Task, extract_shards
from stages.section import Backend


def extract_by_crew(
    choice: EncoderChoice,
    digest: str,
    tasks: Sequence[Task],
    workers: int,
    device: str,
    backend: Backend,
    on_finished: Callable[[Finished], None],
) -> None:
    """Extract shards in `workers` processes on `device`, by the encoder whose weights have that digest; errors as of
    work_by_crew and extract_one."""
    crew = Crew(workers, backend, device, "extract", "shard")
    work_by_crew(crew, partial(extract_one, choice, digest), tasks, on_finished)


def extract_one(choice: EncoderChoice, digest: str, task: Task, lanes: int) -> Finished:
    """What a worker does: one shard. It loads its encoder once. UserError where that is another one than its leader's:
    the cache's key would lie."""
    require_seen(task.folder)
    encoder = _encoder(choice, digest)
    if encoder.digest != digest:
        raise UserError(f"extract: the weights of '{choice.encoder}' were replaced meanwhile; run it again")
    return next(extract_shards(encoder, [task], lanes, lambda _piece: None))


@lru_cache(maxsize=1)
def _encoder(choice: EncoderChoice, digest: str) -> Encoder:  # noqa: ARG001  a worker outlives a run, a path its weights
    return load_encoder(choice)
