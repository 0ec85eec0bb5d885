"""The head of a method of the user's own: a class in a file of theirs, which is code and is run as such.

The class makes arrays of an episode and vectors of items; all else, the space that both towers share, the file of the
head, what it was made from, is done here, so that such a class is a few lines long. What the file says is part of a
head's key: it is found anew by its digest, and other code never applies a head that this code made."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np

from cache.errors import MissingError, UsageError, UserError, nearest
from cache.files import digest_file
from stages.heads.head import Affine, Step, Vectors, check_encoder, part_of, to_sphere
from stages.items import MODALITIES, Array, Items, Modality
from stages.section import Gallery, Match

KIND = "own"
LEARNT = "learnt."  # before the names of what the class itself made, in a head's file
SWITCHES = ("deterministic", "needs_aligned", "uses_names", "uses_views")  # as of a Method; False where not said
METHODS = ("fit", "vectors")  # what the class must have

_known: dict[tuple[str, str], Own] = {}  # by digest and class: what this process was told of


@dataclass(frozen=True)
class Own:
    """A class in a user's file: where, what it is called, and the digest of the file, which is run when the class is
    asked for, once a process."""

    file: Path
    name: str
    digest: str

    @property
    def kind(self) -> type:
        """The class. UsageError where the file cannot be run, has no such class, or one that lacks a method; UserError
        where the file has changed since it was named."""
        return _class_of(self)

    @property
    def about(self) -> str:
        """The first line of the class's docstring."""
        return ((self.kind.__doc__ or "").strip().splitlines() or ["a method of one's own"])[0]

    @property
    def match(self) -> Match:
        """How its vectors are compared; UsageError for a way that there is not."""
        match = getattr(self.kind, "match", "dot")
        known: dict[Any, Match] = {name: name for name in get_args(Match)}
        if match not in known:
            raise UsageError(f"{self.file}: match is {match!r}; there are: {', '.join(known)}")
        return known[match]

    def switch(self, name: str) -> bool:
        """One of SWITCHES; UsageError for a value that is neither true nor false."""
        value = getattr(self.kind, name, False)
        if not isinstance(value, bool):
            raise UsageError(f"{self.file}: {name} is {value!r}; it is True or False")
        return value

    def call(self, name: str, *given: Any) -> Any:
        """What a method of a new instance returns: nothing but its arrays passes from `fit` to `vectors`. UserError,
        with the line of the file, where it raises anything else."""
        try:
            return getattr(self.kind(), name)(*given)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self.file}: {_line(error, self.file)}in {name}: {_said(error)}") from error


@lru_cache
def _class_of(own: Own) -> type:
    found = vars(_run(own)).get(own.name)
    if not isinstance(found, type):
        known = [name for name, value in vars(_run(own)).items() if isinstance(value, type)]
        raise UsageError(f"{own.file}: has no class '{own.name}'{nearest(own.name, known) if known else ''}")
    if lacking := [name for name in METHODS if not callable(getattr(found, name, None))]:
        raise UsageError(f"{own.file}: class '{own.name}' has no method '{lacking[0]}'; see docs/own-method.md")
    return found


def _run(own: Own) -> ModuleType:
    """The file as a module, run once."""
    name = f"own_method_{own.digest}"
    if name in sys.modules:
        return sys.modules[name]
    if digest_file(own.file) != own.digest:
        raise UserError(f"{own.file}: has changed since the command began; run it again")
    spec = spec_from_file_location(name, own.file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)  # there already while it runs: dataclasses look themselves up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{own.file}: {_line(error, own.file)}cannot be run: {_said(error)}") from error
    return module


def _line(error: BaseException, file: Path) -> str:
    """`line 3, `: where in the user's file it happened; nothing where it did not happen there."""
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1] if frames else None
    return "" if line is None else f"line {line}, "


def _said(error: BaseException) -> str:
    words = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())  # its line is told before it
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def own_class(file: Path, name: str) -> Own:
    """The class of a file, known from now on to whoever reads its heads; MissingError where there is no such file."""
    if not file.is_file():
        raise MissingError(f"{file}: no such file; a method of your own is named FILE.py:CLASS")
    own = Own(file.absolute(), name, digest_file(file))
    return _known.setdefault((own.digest, name), own)


@dataclass(frozen=True)
class OwnHead:
    """What a user's class learnt in an episode, and the class that makes vectors of it.

    learnt: arrays by name, of any kind that numpy counts with; align[m] where two towers share no space. `about` holds
    at least method, encoder, aligned and, in `params`, the digest of the file."""

    about: dict[str, Any]
    own: Own
    learnt: Mapping[str, Array]
    align: Mapping[Modality, Affine]

    @property
    def history(self) -> tuple[Step, ...]:
        """None: a class that trains in steps keeps its curves to itself."""
        return ()

    def vectors(self, items: Items, modality: Modality, gallery: Gallery) -> Vectors:
        """(N, V, d) as the class makes them of items without labels; UserError for anything else than finite numbers,
        a vector or several for each item."""
        check_encoder(self.about, items)
        names = items.names if self.about["names"] else {}
        shown = in_space(replace(items, labels=[()] * len(items), names=names), self.align)
        made = self.own.call("vectors", dict(self.learnt), shown, modality, gallery)
        values = numbers(self.own, "vectors", made).astype(np.float32, copy=False)
        _require_vectors(self.own, values, len(items))
        return Vectors(values[:, None] if values.ndim == 2 else values, self.own.match)

    def tensors(self) -> dict[str, Array]:
        """`learnt.<name>`, and `<modality>.mean` and `.map` as far as they are there."""
        maps = {f"{m}.{name}": values for m, part in self.align.items() for name, values in vars(part).items()}
        return {**{LEARNT + name: values for name, values in self.learnt.items()}, **maps}


def _require_vectors(own: Own, values: Array, count: int) -> None:
    """UserError unless these are finite, and a vector or, where they are matched so, several for each of some items."""
    several = own.match != "dot"
    if values.ndim not in (2, 2 + several) or len(values) != count:
        shape = f"({count}, d)" + f" or ({count}, V, d)" * several
        raise UserError(f"{own.file}: vectors returned an array of shape {values.shape}; expected {shape}")
    if not np.isfinite(values).all():
        raise UserError(f"{own.file}: vectors returned numbers that are not finite")


def in_space(items: Items, align: Mapping[Modality, Affine]) -> Items:
    """The items with everything that retrieval compares as unit vectors of one space (see to_sphere): pooled (N, d),
    views (N, K, d), names. pooled_raw, tokens and captions stay as they were cached."""

    def brought(values: Array, modality: Modality) -> Array:
        return to_sphere(values, items.aligned, align.get(modality))

    views = None if items.views is None else {m: brought(own, m) for m, own in items.views.items()}
    names = {name: brought(vector, "text") for name, vector in items.names.get("joint", {}).items()}
    pooled = {m: brought(items.pooled[m], m) for m in MODALITIES}
    return replace(items, pooled=pooled, views=views, names={**items.names, "joint": names})


def numbers(own: Own, name: str, value: Any) -> Array:
    """What a class returned as an array of numbers, of one dimension at least; UserError for what is none."""
    try:
        array = np.atleast_1d(np.asarray(value))
    except ValueError as error:
        raise UserError(f"{own.file}: {name} returned lists of unequal lengths; return an array") from error
    if array.dtype.kind not in "fiub":
        raise UserError(f"{own.file}: {name} returned {type(value).__name__}; return an array of numbers")
    return array


def read(tensors: Mapping[str, Array], about: dict[str, Any]) -> OwnHead:
    """The head that a file's tensors and `about` are of; UsageError unless its method was named, its file unchanged."""
    own = _known.get((about["params"]["code"], about["method"]))
    if own is None:
        raise UsageError(
            f"a head of '{about['method']}', a method of somebody's own: name its file, as it was then,"
            f" with -S search.method=FILE.py:{about['method']}"
        )
    parts = {m: part_of(tensors, f"{m}.") for m in MODALITIES}
    align = {m: Affine(part["mean"], part["map"]) for m, part in parts.items() if "map" in part}
    return OwnHead(about, own, part_of(tensors, LEARNT), align)
