"""One made-up run and its page, for every file of tests that looks at it."""

from __future__ import annotations

import pytest

from stages.report import run as stage
from stages.report.params import ReportParams
from tests.stages.report import build


@pytest.fixture(scope="session")
def params(tmp_path_factory: pytest.TempPathFactory) -> ReportParams:
    made = build.write_inputs(tmp_path_factory.mktemp("report"))
    stage.run(made)
    return made


@pytest.fixture(scope="session")
def page(params: ReportParams) -> str:
    return params.page.read_text(encoding="utf-8")
