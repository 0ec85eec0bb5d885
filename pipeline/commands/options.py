"""The flags that commands share, once: -S, the common keys by name, --json and --debug."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from cache.errors import ParamsError, UsageError, meant
from pipeline.setting import Setting

if TYPE_CHECKING:  # pydantic is slow to import, and --help does not need it
    from pipeline.params import Layer, Params
    from pipeline.places import Places
    from stages.train.params import TrainSection

PANEL = "Parameters (defaults: params.yaml)"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _numbers(text: str | None) -> list[int] | None:
    """`0,1,3` as numbers."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ParamsError(f"--shots {text}: expected numbers with commas between, as in --shots 0,1,3,5") from error


def _names(texts: list[str] | None) -> list[str] | None:
    """`cca,gap` as names, those of a flag that is repeated one behind the other."""
    return [part.strip() for text in texts for part in text.split(",")] if texts else None


def _methods(texts: list[str] | None) -> list[str] | None:
    """The names of --method; a file of the user's own is named from where the command is typed."""
    from pipeline.own_methods import from_folder

    return [from_folder(name, Path.cwd()) for name in _names(texts) or []] or None


def _require_access(text: str | None) -> None:
    """UsageError, with what there is and the nearest of it, for an access that is none."""
    from stages.train.params import Access

    known: tuple[str, ...] = get_args(Access)
    if text is not None and text not in known:
        *first, last = known
        raise UsageError(f"--access {text}: expected {', '.join(first)} or {last}{meant(text, known)}")


def _admitted(setting: Setting, access: str | None) -> Setting:
    """The setting with an access admitted beside what -S or an overlay admits: who passes the flag has asked for it."""
    section = setting.params.train
    if access in (None, "inductive", *section.admit):
        return setting
    train = section.model_copy(update={"admit": [*section.admit, access]})
    return replace(setting, params=setting.params.model_copy(update={"train": train}))


def _flag(name: str, help_: str) -> Any:
    """A named flag for a key of params.yaml."""
    return typer.Option(name, help=help_, rich_help_panel=PANEL)


def gather(
    assign: Annotated[
        list[str] | None,
        typer.Option("-S", "--set", metavar="KEY=VALUE", help="Any key of params.yaml.", rich_help_panel=PANEL),
    ] = None,
    overlay: Annotated[
        list[Path] | None,
        typer.Option("--overlay", help="A file with some keys of params.yaml.", rich_help_panel=PANEL),
    ] = None,
    dataset: Annotated[str | None, _flag("--dataset", "The dataset; of --task classify several, as in a,b.")] = None,
    encoder: Annotated[str | None, _flag("--encoder", "The encoder.")] = None,
    weights: Annotated[str | None, _flag("--weights", "A local checkpoint for the encoder.")] = None,
    heads: Annotated[str | None, _flag("--heads", "Linear heads that align two towers.")] = None,
    task: Annotated[str | None, _flag("--task", "classify: top-1 of pictures, with the methods of `classify`.")] = None,
    shots: Annotated[str | None, _flag("--shots", "Labelled pairs a target class, as in 0,1,3,5.")] = None,
    seeds: Annotated[int | None, _flag("--seeds", "How many draws of the supports.")] = None,
    method: Annotated[
        list[str] | None, _flag("--method", "As in cca,gcrdp, or FILE.py:CLASS, whose code is run.")
    ] = None,
    access: Annotated[str | None, _flag("--access", "inductive, semi-supervised or transductive, of scm.")] = None,
    device: Annotated[str | None, _flag("--device", "auto, cpu, cuda, cuda:1 ...")] = None,
    precision: Annotated[str | None, _flag("--precision", "fp32, bf16 or fp16.")] = None,
    workers: Annotated[int | None, _flag("--workers", "Processes that extract, and that train.")] = None,
    backend: Annotated[str | None, _flag("--backend", "loky or ray.")] = None,
    tokens: Annotated[str | None, _flag("--tokens", "none, joint or raw.")] = None,
    storage: Annotated[str | None, _flag("--storage", "Tokens are kept as float16 or float32.")] = None,
    allow_pickle: Annotated[
        bool | None, _flag("--allow-pickle", "Let a checkpoint run the code in it; only one that you trust.")
    ] = None,
    allow_missing: Annotated[bool | None, _flag("--allow-missing", "Go on however many listed files are gone.")] = None,
    verify_on_read: Annotated[bool | None, _flag("--verify-on-read", "Compare what is read with its record.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001 - read from sys.argv, before a command is known
    behind: Sequence[Any] = (),
) -> Setting:
    """The setting that the shared flags describe: params.yaml, the overlays, -S in order, the named flags. behind: the
    layers that a command, not a person, puts behind the overlays; it is no flag."""
    _require_access(access)
    named = {
        "dataset": dataset,
        "encoder": encoder,
        "extract.weights": weights,
        "extract.heads": heads,
        "split.shots": _numbers(shots),
        "split.seeds": seeds,
        "train.methods": _methods(method),
        "train.scm.access": access,
        "extract.device": device,
        "extract.precision": precision,
        "extract.workers": workers,
        "extract.backend": backend,
        "train.workers": workers,
        "train.backend": backend,
        "extract.tokens": tokens,
        "extract.storage": storage,
        "extract.allow_pickle": allow_pickle,
        "ingest.allow_missing": allow_missing,
        "verify_on_read": verify_on_read,
    }
    flags = {key: value for key, value in named.items() if value is not None}
    setting = _setting(overlay or [], behind, assign or [], flags, task)
    _require_reader(access, setting.params.train)
    return _admitted(setting, access)


def _setting(
    overlays: list[Path], behind: Sequence[Layer], assign: list[str], named: dict[str, Any], task: str | None
) -> Setting:
    """The setting of the repository here, under overlays, what is behind them, what a task sets, -S and named keys, in
    that order. Of several datasets the first is its own, see Setting.more."""
    from pipeline.own_methods import placed
    from pipeline.params import load_params, parse_override, refuse_colon  # slow to import, and --help does not need it
    from pipeline.places import find_places, find_root
    from pipeline.task import task_changes

    root = find_root(Path.cwd())
    changes = [parse_override(text) for text in assign]
    first, *more = str(named.get("dataset", "")).split(",")
    named = {**named, "dataset": first} if more else named
    params = load_params(root / "params.yaml", overlays, changes, [*named.items()], behind)
    if task is not None:
        layers = [*behind, (task_changes(task, params), f"--task {task}")]
        params = load_params(root / "params.yaml", overlays, changes, [*named.items()], layers)
    places = find_places(root, params.store)
    params = _one_spelling(placed(params, places.home), places)
    _know_names(params.dataset, params.encoder, params.train.methods)
    if places.stage:
        refuse_colon(root / "params.yaml")
    return Setting(params, places, more=tuple(name.strip() for name in more))


def _one_spelling(params: Params, places: Places) -> Params:
    """The parameters with the paths of imported features as `import-features` notes them, for what they decide is told
    by their words."""
    own = params.ingest.features
    found: dict[str, Any] = {key: places.from_home(path) for key in ("path", "table") if (path := getattr(own, key))}
    found["split_lists"] = [places.from_home(path) for path in own.split_lists]
    ingest = params.ingest.model_copy(update={"features": own.model_copy(update=found)})
    return params.model_copy(update={"ingest": ingest})


def _require_reader(access: str | None, section: TrainSection) -> None:
    """UsageError where --access is passed and no row of the run has an access that it could set."""
    from stages.train.params import UnlabelledSection

    able = [name for name, own in section if isinstance(own, UnlabelledSection)]
    asked = [*section.methods, *(row.method for row in section.variants if "access" not in row.values)]
    if access is not None and not set(able) & set(asked):
        raise UsageError(
            f"--access {access} changes nothing: no row asked for takes it ({', '.join(dict.fromkeys(asked))});"
            f" add {' or '.join(able)} to --method, or leave --access out"
        )


def _know_names(dataset: str, encoder: str, methods: list[str]) -> None:
    """UsageError, with the nearest name, for a dataset, encoder or method that is none."""
    from stages.extract.encoders.registry import IMPORTED, parse
    from stages.imported.params import DATASET
    from stages.ingest.datasets import find as find_dataset
    from stages.train.methods import find as find_method

    find_dataset(dataset)
    parse(encoder)
    if (dataset == DATASET) != (encoder == IMPORTED):
        raise UsageError(
            f"dataset '{dataset}' and encoder '{encoder}' do not go together: features that others computed are "
            f"--dataset {DATASET} --encoder {IMPORTED}, and neither goes with another"
        )
    for method in methods:
        find_method(method)


Behind = Callable[..., Sequence[Any]]  # what a command was given, the shared flags left out -> layers


def takes_setting(
    command: Callable[..., None], behind: Behind | None = None, several: bool = False
) -> Callable[..., None]:
    """Give a command, whose first argument is the setting, the shared flags in place of it; a flag of its own that is
    called as a shared one stands for that. behind: what the command puts behind a person's overlays; several: whether
    it goes through more than one dataset."""
    own = [p for n, p in inspect.signature(command, eval_str=True).parameters.items() if n != "setting"]
    named = {p.name for p in own}
    flags_of = inspect.signature(gather, eval_str=True).parameters
    shared = {n: p for n, p in flags_of.items() if n not in named and get_origin(p.annotation) is Annotated}

    @functools.wraps(command)
    def run(**given: Any) -> None:
        flags = {name: given.pop(name) for name in shared}
        setting = gather(**flags, behind=behind(**given) if behind else ())
        if setting.more and not several:
            raise UsageError(f"--dataset {flags['dataset']}: this command takes one dataset; name one of them")
        command(setting=setting, **given)

    run.__signature__ = inspect.Signature([*own, *shared.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*own, *shared.values()]}
    return run
