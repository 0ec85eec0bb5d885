"""One bit turned over, somewhere in a cache, and what becomes of it.

The three caches of a small dataset are extracted once. Then, again and again, a file of the next kind is chosen by a
seeded draw, one bit of it is flipped, and: `verify` names that file and no other; reading is refused where
verify_on_read is on; `verify --repair` and `extract` bring back the bytes that stood, and make only the damaged shard
again (counted by the files that are made anew). A damaged cache.json or shards.jsonl leaves nothing in its folder
that could be trusted, so there the folder goes by design, and all its shards are made again. Then files are cut and
lengthened: every reader refuses them, whether or not it compares digests. Mixtures and heads have the same records
and go through the same `verify`.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cache import shards
from cache.errors import DamagedError, UserError
from cache.features import FAILED, INDEX, FeatureCache
from cache.hdf5 import write_arrays
from cache.heads import FILES as HEAD_FILES
from cache.heads import write_head, write_history
from cache.store import folder_of
from cache.verify import keys_in, repair_store, verify_store
from proof.conditions import one_encoder, without_waiting_for_the_disk
from proof.row import Proof, part_of
from proof.toys import TINY, bytes_of, make_toys, write_model
from stages.extract.params import ExtractParams
from stages.extract.run import run

COUNT, CUTS, SEED, ITEMS = 1000, 200, 4, 10
KINDS: dict[str, Callable[[str], bool]] = {
    "part": lambda name: name.startswith("part-"),
    "index": INDEX.__eq__,
    "failed": FAILED.__eq__,
    "about": shards.ABOUT.__eq__,
    "record": shards.RECORD.__eq__,
}
NOTHING_TRUSTED = ("about", "record")


@dataclass(frozen=True)
class Held:
    """What held of one flip, and the shards that were made again."""

    named: bool
    refused: bool
    restored: bool
    alone: bool
    again: int


def flip(path: Path, numbers: random.Random) -> None:
    """Turn one bit of a file over."""
    data = bytearray(path.read_bytes())
    data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
    path.write_bytes(data)


def _files(store: Path) -> dict[str, list[Path]]:
    """The files of all feature caches by kind, sorted."""
    every = sorted(path for folder in keys_in(store) for path in folder.iterdir())
    return {kind: [path for path in every if is_one(path.name)] for kind, is_one in KINDS.items()}


def _inodes(store: Path) -> dict[Path, tuple[int, int]]:
    """When, and as which inode, each part was made."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in _files(store)["part"]}


def _named(store: Path, path: Path) -> bool:
    """Whether `verify` finds one thing, and that it is this file."""
    found = verify_store(store, hashes=True)
    return [f.path for f in found] == [path.parent] and found[0].problem.startswith(f"{path.name}: ")


def _read_everything(folder: Path, verify: bool) -> None:
    """Open a cache and read of every file that it has."""
    cache = FeatureCache.open(folder, verify)
    _ = cache.index, cache.failed, cache.pooled(), cache.tokens(range(len(cache)))


def _refused(reads: Callable[[], None]) -> bool:
    """Whether a read ends in one line that speaks of damage."""
    try:
        reads()
    except DamagedError as error:
        return "\n" not in str(error)
    except UserError:
        return False
    return False


def try_flip(params: ExtractParams, before: dict[str, bytes], kind: str, numbers: random.Random) -> Held:
    """Flip a bit in a file of a kind, see it found and refused, and mend it."""
    store = params.store
    path = numbers.choice(_files(store)[kind])
    parts = _inodes(store)
    flip(path, numbers)
    named = _named(store, path)
    refused = _refused(partial(shards.require_sound, path.parent)) and _refused(
        partial(_read_everything, path.parent, verify=True)
    )
    restored = _mended(params, before)
    again = {part for part, made in _inodes(store).items() if parts.get(part) != made}
    whole_folder = {part for part in parts if part.parent == path.parent}
    expected = whole_folder if kind in NOTHING_TRUSTED else {path} & set(parts)
    if not restored:
        _put_back(store, before)
    return Held(named, refused, restored, again == expected, len(again))


def _mended(params: ExtractParams, before: dict[str, bytes]) -> bool:
    """Repair and extract; whether all is as it was before."""
    try:
        repair_store(params.store)
        run(params)
    except UserError:
        return False
    return bytes_of(params.store) == before


def _put_back(store: Path, before: dict[str, bytes]) -> None:
    """What could not be mended does not spoil the flips that come."""
    shutil.rmtree(store)
    for name, data in before.items():
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(data)


def try_cut(params: ExtractParams, numbers: random.Random, longer: bool) -> bool:
    """Whether a file of another length is refused by who compares no digest; the file is put back."""
    kinds = _files(params.store)
    path = numbers.choice([path for kind in ("part", "index", "failed", "about") for path in kinds[kind]])
    data = path.read_bytes()
    path.write_bytes(
        data + numbers.randbytes(numbers.randint(1, 99)) if longer else data[: numbers.randrange(len(data))]
    )
    found = verify_store(params.store, hashes=False)
    refused = _refused(lambda: _read_everything(path.parent, verify=False)) and len(found) == 1
    path.write_bytes(data)
    return refused


# --- the other kinds of the store -----------------------------------------------------------------------------------


def write_mixture_and_head(store: Path) -> None:
    """A small mixture and a small head, of numbers drawn."""
    numbers = np.random.default_rng(SEED)
    mixture, head = folder_of(store, "mixtures", "a" * 32), folder_of(store, "heads", "b" * 32)
    shards.begin(mixture, {"k": 2}, ["image.h5", "text.h5"])
    for name in ("image.h5", "text.h5"):
        finished = shards.temporary(mixture)
        write_arrays(finished, {"mean": numbers.random((8, 2, 4), np.float32)})
        shards.record(mixture, finished, name, 8)
    shards.begin(head, {"method": "gap"}, HEAD_FILES)
    for name in HEAD_FILES:
        finished = shards.temporary(head)
        if name.endswith("safetensors"):
            write_head(finished, {"w": numbers.random(300, np.float32)}, {"method": "gap"})
        else:
            write_history(finished, [(0, "loss", 1.0)])
        shards.record(head, finished, name, 1)


def flip_other_kinds(base: Path, count: int) -> Iterator[bool]:
    """Whether a flip in a mixture or a head is named by `verify`, refused, and only what is damaged dropped."""
    store, kept = base / "others", base / "kept"
    write_mixture_and_head(store)
    shutil.copytree(store, kept)
    numbers = random.Random(SEED)
    for _ in range(count):
        path = numbers.choice(sorted(path for folder in keys_in(store) for path in folder.iterdir()))
        flip(path, numbers)
        held = _named(store, path) and _refused(partial(shards.require_sound, path.parent))
        repair_store(store)
        yield held and not path.exists() and not verify_store(store, hashes=True)
        shutil.rmtree(store)
        shutil.copytree(kept, store)


# --- rows -----------------------------------------------------------------------------------------------------------


def prove(share: float) -> list[Proof]:
    """A share of the flips, spread over the kinds of files; a row a claim."""
    with tempfile.TemporaryDirectory() as folder, without_waiting_for_the_disk():
        base = Path(folder).resolve()
        params = make_toys(base, write_model(base / "model", TINY), ITEMS).params
        with one_encoder(params):
            run(params)
            return [*_flip_rows(params, part_of(COUNT, share)), _cut_row(params, share), _other_row(base, share)]


def _flip_rows(params: ExtractParams, count: int) -> list[Proof]:
    before, numbers = bytes_of(params.store), random.Random(SEED)
    kinds = [list(KINDS)[i % len(KINDS)] for i in range(count)]
    held = [try_flip(params, before, kind, numbers) for kind in kinds]
    tried = ", ".join(f"{n} in {_file_of(kind)}" for kind, n in Counter(kinds).items())
    made = Counter[str]()
    for kind, one in zip(kinds, held, strict=True):
        made["the folder's" if kind in NOTHING_TRUSTED else "the damaged"] += one.again
    again = ", ".join(f"{n} shards of {which} made again" for which, n in made.items())
    return [
        Proof("a flipped bit is found by verify, which names the file", count, sum(h.named for h in held), tried),
        Proof("a damaged file is not read where verify_on_read is on", count, sum(h.refused for h in held)),
        Proof("verify --repair and extract restore every byte", count, sum(h.restored for h in held)),
        Proof("only what cannot be trusted is made again", count, sum(h.alone for h in held), again),
    ]


def _file_of(kind: str) -> str:
    return {"part": "parts", "index": INDEX, "failed": FAILED, "about": shards.ABOUT, "record": shards.RECORD}[kind]


def _cut_row(params: ExtractParams, share: float) -> Proof:
    numbers, count = random.Random(SEED), part_of(CUTS, share)
    held = [try_cut(params, numbers, longer=i % 2 == 1) for i in range(count)]
    return Proof("a file cut or lengthened is refused, digests compared or not", count, sum(held))


def _other_row(base: Path, share: float) -> Proof:
    count = part_of(CUTS, share)
    held = sum(flip_other_kinds(base, count))
    return Proof("a flipped bit in a mixture or a head is found, refused and dropped", count, held)
