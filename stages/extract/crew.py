"""Extraction by many processes: each turns whole shards into temporary files (see stages.crew)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from stages.crew import Crew, require_seen, work_by_crew
from stages.extract.encoders.built import EncoderChoice
from stages.extract.encoders.encoder import Encoder, load_encoder
from stages.extract.shard import Finished, Task, extract_shards
from stages.section import Backend


def extract_by_crew(
    choice: EncoderChoice,
    tasks: Sequence[Task],
    workers: int,
    device: str,
    backend: Backend,
    on_finished: Callable[[Finished], None],
) -> None:
    """Extract shards in `workers` processes on `device`; errors as of work_by_crew."""
    crew = Crew(workers, backend, device, "extract", "shard")
    work_by_crew(crew, partial(extract_one, choice), tasks, on_finished)


def extract_one(choice: EncoderChoice, task: Task, lanes: int) -> Finished:
    """What a worker does: one shard. It loads its encoder once."""
    require_seen(task.folder)
    return next(extract_shards(_encoder(choice), [task], lanes, lambda _piece: None))


@lru_cache(maxsize=1)
def _encoder(choice: EncoderChoice) -> Encoder:
    return load_encoder(choice)
