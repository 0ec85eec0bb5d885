"""Completion for the shell: commands, flags, names and keys, from the same command line that runs them.

`completion` prints what bash is to read; bash then asks the hidden command `complete` at every press of the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from click import Command

SCRIPT = r"""# For `python -m pipeline ...` alone; any other call of python completes file names, as before.
_pipeline() {
    [[ ${COMP_WORDS[1]} == -m && ${COMP_WORDS[2]} == pipeline && $COMP_CWORD -gt 2 ]] || return 0
    mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" -m pipeline complete -- "${COMP_WORDS[@]:3:COMP_CWORD-2}" 2> /dev/null)
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o bashdefault -o default -F _pipeline python python3"""

Words = Annotated[list[str] | None, typer.Argument(help="What is typed behind `python -m pipeline`.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(rich_help_panel="What there is")(completion)
    app.command(hidden=True)(complete)


def completion() -> None:
    """Print what makes bash complete this command line: eval "$(python -m pipeline completion)" in ~/.bashrc."""
    print(SCRIPT)


def complete(context: typer.Context, words: Words = None) -> None:
    """What may stand in place of the last of some words, a line each; nothing where that is a file or free text."""
    group = context.parent.command if context.parent else context.command
    commands = {name: one for name, one in getattr(group, "commands", {}).items() if not one.hidden}
    for candidate in candidates(commands, words or [""]):
        print(candidate)


def candidates(commands: dict[str, Command], words: Sequence[str]) -> list[str]:
    """What the last of some words may become, sorted."""
    *before, begun = words
    if not before:
        return _beginning(begun, commands)
    if before[0] not in commands:
        return []
    options = _options(commands[before[0]])
    if len(before) > 1 and options.get(before[-1]):
        return _values(str(options[before[-1]]), begun)
    if begun.startswith("-"):
        return _beginning(begun, [*options, "--help"])
    return _names(before[0], begun)


def _beginning(begun: str, known: Iterable[str]) -> list[str]:
    return sorted({name for name in known if name.startswith(begun)})


def _options(command: Command) -> dict[str, str | None]:
    """The flags of a command, each with the name of the value behind it, None where there is none."""
    known = [one for one in command.params if one.param_type_name == "option"]
    spelt = [(flag, one) for one in known for flag in (*one.opts, *one.secondary_opts)]
    return {flag: None if getattr(one, "is_flag", False) else one.name for flag, one in spelt}


def _values(name: str, begun: str) -> list[str]:
    """The values of a flag, where they are names; --method takes several, with commas between."""
    if name == "method":
        done, comma, last = begun.rpartition(",")
        return [f"{done}{comma}{one}" for one in _names("methods", last)]
    if name == "assign":
        from pipeline.params import Params, known_keys

        keys = list(known_keys(Params))
        return _beginning(begun, [f"{key}=" for key in keys if not any(one.startswith(f"{key}.") for one in keys)])
    return _names(f"{name}s", begun)


def _names(which: str, begun: str) -> list[str]:
    """Names of datasets, encoders, methods or experiments that begin so; none of anything else."""
    from stages.extract.encoders.registry import ENCODERS
    from stages.ingest.datasets import DATASETS
    from stages.train.methods import METHODS

    forms = (encoder.form for encoder in ENCODERS)
    encoders = [form for form in forms if "<" not in form]
    known = {"datasets": list(DATASETS), "methods": list(METHODS), "encoders": encoders}
    return _beginning(begun, _experiments() if which == "ablate" else known.get(which, []))


def _experiments() -> list[str]:
    """The experiments of the checkout here; none outside of one."""
    from cache.errors import MissingError
    from pipeline.ablation.experiment import names_in
    from pipeline.places import find_root

    try:
        return names_in(find_root(Path.cwd()))
    except MissingError:
        return []
