"""params.yaml as one typed object, composed of the stages' own parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ValidationError

from cache.errors import MissingError, ParamsError, nearest
from stages.evaluate.params import EvaluateSection
from stages.extract.params import ExtractSection
from stages.ingest.datasets.coop_sets import as_file_name
from stages.ingest.params import IngestSection
from stages.mixture.params import MixtureSection
from stages.search.params import SearchSection
from stages.section import Section, said
from stages.split.params import SplitSection
from stages.train.params import ClassifySection, TrainSection

EXPERIMENT = "experiment"  # the section in which an overlay says what is asked, see pipeline.ablation
UNION_TAGS = {"str", "int", "float", "constrained-int", "constrained-float"}  # what pydantic calls a union's branches


class Params(Section):
    """Everything that params.yaml says; `coop:<name>` is called `coop-<name>`, as files are."""

    dataset: Annotated[str, AfterValidator(as_file_name)]
    encoder: str
    store: str
    verify_on_read: bool
    ingest: IngestSection
    extract: ExtractSection
    split: SplitSection
    mixture: MixtureSection
    train: TrainSection
    classify: ClassifySection
    evaluate: EvaluateSection
    search: SearchSection


def known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that a model takes, dotted, sections before their keys."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, key + ".")


def read_values(path: Path) -> dict[str, Any]:
    """The plain values of a params file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}:" if where else ""
        raise ParamsError(f"{path.name}:{line} not valid YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(values, dict):
        raise ParamsError(f"{path.name}: expected keys and values, as the shipped params.yaml has them")
    return values


def refuse_colon(path: Path) -> None:
    """ParamsError where a params file that DVC reads has a colon in the dataset's name: DVC takes the names of what a
    stage makes from there as they are, and the files' have none."""
    dataset = str(read_values(path).get("dataset"))
    if dataset != as_file_name(dataset):
        raise ParamsError(f"{path.name}: dataset is '{dataset}'; DVC names files by it, write {as_file_name(dataset)}")


def parse_override(text: str) -> tuple[str, Any]:
    """One `key=value` of -S: the value is YAML; quotes keep special characters, as in `dvc exp run -S`."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ParamsError(f"-S {text}: expected key=value, for instance -S mixture.components=5")
    try:
        return key.strip(), yaml.safe_load(value) if value else ""
    except yaml.YAMLError as error:
        raise ParamsError(f"-S {text}: the value is not valid YAML; quote it, as in -S \"{key}='...'\"") from error


def read_overlay(path: Path) -> list[tuple[str, Any]]:
    """The changes that an overlay makes: a file like params.yaml, with some of its keys. What an experiment says of
    itself beside them is none."""
    return [*leaves({key: value for key, value in read_values(path).items() if key != EXPERIMENT})]


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as dotted keys and values."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def override(values: Mapping[str, Any], changes: Sequence[tuple[str, Any]], source: str) -> dict[str, Any]:
    """A copy of the values with some dotted keys changed; an unknown key names the nearest one."""
    changed = deepcopy(dict(values))
    known = set(known_keys(Params))
    for key, value in changes:
        if key not in known:
            raise ParamsError(f"{source}: no key '{key}'{nearest(key, known)}")
        *sections, last = key.split(".")
        inner = changed
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return changed


def validate(values: Mapping[str, Any], source: str) -> Params:
    """The typed parameters, or a ParamsError that names the first key at fault and what it may be."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError(f"{source}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    """The first fault of a validation as one clause: which key, what it is, what it may be."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])  # a misspelt key is missing, too
    key = _key(fault["loc"])
    if fault["type"] == "extra_forbidden":
        entry = _entry(fault["loc"])
        hint = nearest(str(fault["loc"][-1]), entry.model_fields) if entry else nearest(key, known_keys(Params))
        return f"no key '{key}'{hint}"
    if fault["type"] == "missing":
        entry = _entry(fault["loc"])
        whole = f"an entry has {', '.join(entry.model_fields)}" if entry else "the shipped params.yaml has every key"
        return f"key '{key}' is missing; {whole}"
    if fault["type"] == "model_type":
        return f"{key} is {fault['input']!r}; it is a section, with keys of its own"
    if isinstance(fault["input"], dict | BaseModel):  # what is wrong lies between several keys of a section
        return f"{key}: {said(fault['msg'])}"
    branches = [f["msg"].removeprefix("Input should be ") for f in faults if _key(f["loc"]) == key]
    reason = f"input should be {' or '.join(branches)}" if len(branches) > 1 else said(fault["msg"])
    return f"{key} is {fault['input']!r}; {reason}"


def _entry(loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model of a list's entry in which a fault lies; None where it lies in no such entry."""
    if not any(isinstance(part, int) for part in loc[:-1]):
        return None
    model: Any = Params
    for part in loc[:-1]:
        model = get_args(model)[0] if isinstance(part, int) else model.model_fields[part].annotation
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _key(loc: tuple[int | str, ...]) -> str:
    """The dotted key of a fault's place."""
    return ".".join(str(part) for part in loc if not _is_union_tag(part))


def _is_union_tag(part: int | str) -> bool:
    """Whether a part of a fault's place names a branch of a union rather than a key."""
    return isinstance(part, str) and (part in UNION_TAGS or "[" in part)


Changes = Sequence[tuple[str, Any]]
Layer = tuple[Changes, str]  # changes, and what to call them in a message


def load_params(
    path: Path, overlays: Sequence[Path], changes: Changes, flags: Changes = (), behind: Sequence[Layer] = ()
) -> Params:
    """params.yaml, the overlays in order and what comes behind them, -S, the named flags; each is checked, so that an
    error names its source."""
    values = read_values(path)
    params = validate(values, path.name)
    read = [(read_overlay(overlay), overlay.name) for overlay in overlays]
    for layer, source in [*read, *behind, (changes, "-S"), (flags, "flags")]:
        values = override(values, layer, source)
        params = validate(values, source)
    return params
