"""The command line in this process: what a person types and gets back, without the seconds that a start takes."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from pipeline.__main__ import main
from stages.progress import Silent, report_to


def typed(folder: Path, *arguments: str) -> CompletedProcess[str]:
    """Run `python -m pipeline` in a folder: the same code from the arguments to the exit code."""
    out, err, before, code = io.StringIO(), io.StringIO(), Path.cwd(), 0
    told = report_to(Silent())
    os.chdir(folder)
    try:
        with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["pipeline", *arguments]):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os.chdir(before)
        report_to(told)
    return CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())
