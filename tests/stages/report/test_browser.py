"""The page in a real browser: axe-core finds no fault at two widths, light and dark, and nothing runs over the edge."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
AXE = pytest.importorskip("axe_core_python", reason="axe-core is not installed: pip install '.[dev]'").__name__
DARK = "--blink-settings=preferredColorScheme=0"
ASK = """
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify({
    faults: found.violations.map(one => [one.id, one.impact, one.nodes.map(node => node.target.join(" "))]),
    wide: document.documentElement.scrollWidth,
    dark: getComputedStyle(document.body).backgroundColor,
  });
  parent.document.body.append(told);
});
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed, in which the page would be opened")


def opened(place: Path, page: str, width: int, *flags: str) -> dict[str, Any]:
    """What axe-core and the browser say of a page at a width: in a frame, since no window is as narrow as a phone."""
    assert CHROMIUM is not None
    scripts = resources.files(AXE).joinpath("axe.min.js").read_text(encoding="utf-8"), ASK
    asked = page.replace("</body>", "".join(f"<script>{one}</script>" for one in scripts) + "</body>")
    place.write_text(
        f'<!doctype html><body><iframe srcdoc="{escape(asked)}" width="{width}" height="900" frameborder="0">'
    )
    window = ["--window-size=1400,1000", "--hide-scrollbars", "--virtual-time-budget=60000", "--dump-dom"]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *window, *flags, f"file://{place}"]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    (told,) = re.findall(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    found: dict[str, Any] = json.loads(unescape(told))
    return found


def test_a_desk_in_the_light_has_no_fault(tmp_path: Path, page: str) -> None:
    found = opened(tmp_path / "page.html", page, 1280)
    assert found["faults"] == []
    assert found["dark"] == "rgb(255, 255, 255)"


def test_a_phone_in_the_dark_has_no_fault_and_nothing_runs_over_its_edge(tmp_path: Path, page: str) -> None:
    found = opened(tmp_path / "page.html", page, 390, DARK)
    assert found["faults"] == []
    assert found["dark"] == "rgb(20, 24, 29)"
    assert found["wide"] <= 390


def test_a_fault_is_found(tmp_path: Path) -> None:
    page = '<!doctype html><html lang="en"><title>x</title><body><main><h1>x</h1><img src="x.png"></main></body></html>'
    assert [fault[:2] for fault in opened(tmp_path / "page.html", page, 390)["faults"]] == [["image-alt", "critical"]]
