"""`python -m pipeline`: extract once, then train light heads."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer

from pipeline.commands import ablate, catalogue, completion, demo, export, imports, search, stages, store
from pipeline.console import ConsoleReporter, guarded
from stages.progress import report_to

app = typer.Typer(
    name="pipeline",
    help="Few-shot cross-modal retrieval on cached CLIP tokens: extract once, then train light heads.",
    add_completion=False,  # `completion` does it: what typer would install does not complete `python -m`
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (stages, ablate, demo, search, export, imports, catalogue, store, completion):
    group.register(app)


def _tell_version(asked: bool) -> None:
    if asked:
        from pipeline.machine import PROJECT, software

        print(PROJECT, software()["this project"])
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="The version, and nothing else.")
    ] = False,
) -> None:
    """What stands before a command."""


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong use."""
    reporter = ConsoleReporter()
    report_to(reporter)
    arguments = sys.argv[1:] or ["--help"]
    run = partial(app, arguments, prog_name="python -m pipeline", standalone_mode=False)
    debug = "--debug" in arguments
    code = guarded(run, debug)
    sys.exit(max(code, reporter.tell_failures(debug)))


if __name__ == "__main__":
    main()
