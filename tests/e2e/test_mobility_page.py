"""The page of a move in a browser: it needs nothing from anywhere, what it shows is there, hostile text stays text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.load import load
from testbed.observe.report.mobility import page
from tests.browser import Browser, browser
from tests.moves import CORRESPONDENTS, EID, frames, run

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromedriver") and shutil.which("chromium")), reason="needs Chromium and its driver"
)
CUT = """
const cut = [];
for (const svg of document.querySelectorAll(".waterfall svg, .plots svg")) {
  const frame = svg.getBoundingClientRect();
  for (const text of svg.querySelectorAll("text")) {
    const box = text.getBoundingClientRect();
    if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5) cut.push(text.textContent);
  }
}
return cut"""
"""Words of a plot that its edge cuts off."""
HOSTILE = '</script><script>document.title = "taken"</script><img src="http://192.0.2.1/x.png" onerror="alert(1)">'


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page") / "mobility.html"
    made.write_text(page(run(HOSTILE), load("mobility"), frames(), HOSTILE), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_it_shows_the_moves(window: Browser, file: Path) -> None:
    """Pictures, steps, a plot for each correspondent with its blackout shaded, ladder, packets; it asks for nothing."""
    window.log("performance")
    window.open(file)
    window.until("document.body.dataset.drawn")
    assert window.run("return [...document.images].map(one => one.complete && one.naturalWidth > 0)") == [True, True]
    names = window.run("return [...document.querySelectorAll('.plots h4')].map(one => one.firstChild.data)")
    assert names == [*CORRESPONDENTS, *CORRESPONDENTS]
    gaps = window.run("return [...document.querySelectorAll('.plots .gap')].map(one => one.textContent)")
    assert len(gaps) == len(window.run("return [...document.querySelectorAll('.blackout')].map(String)")) == 32
    assert {round(float(one.removesuffix(" ms"))) for one in gaps} == {6}
    steps = window.run(
        "return [...document.querySelectorAll('.waterfall')].map(one => one.querySelectorAll('.dot').length)"
    )
    assert steps == [11, 11]
    # The keyboard alone: Enter on the Map-Register opens its packet.
    window.run(
        "const row = document.querySelectorAll('.evidence svg .row')[3]; row.focus();"
        "row.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    )
    window.until("document.querySelectorAll('.packet').length === 1")
    layers = window.run("return [...document.querySelectorAll('.layer > summary')].map(s => s.firstChild.data.trim())")
    assert layers == ["Ethernet", "IP", "UDP", "LISP Map-Register"]
    # One that is no packet is a line in the list.
    window.run("document.querySelectorAll('.evidence svg .row')[0].dispatchEvent(new Event('click'))")
    assert window.run("return document.activeElement.querySelector('b').textContent") == "unplugged"
    # What it is told stays text.
    title = window.run("return document.title")
    assert title == f"mobile moves from dc1 to dc2, and back{HOSTILE}"
    assert window.run(f"return document.body.textContent.includes('Map-Register {EID}</script>')")
    assert window.run("return [document.images.length, document.scripts.length]") == [2, 1 + 1]
    assert [one["message"] for one in window.log("browser")] == []
    assert {one.partition(":")[0] for one in window.requests()} <= {"file", "data", "blob"}


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_fits(window: Browser, file: Path, width: int, scheme: str) -> None:
    """On a phone nothing is wider than the screen, and pictures show the host; in the dark the paper is dark."""
    window.emulate("setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
    window.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    window.open(file)
    window.until("document.body.dataset.drawn")
    assert window.run("return document.documentElement.scrollWidth") == width
    assert window.run(CUT) == []
    paper = window.run("return getComputedStyle(document.body).backgroundColor")
    lightness = int(paper.removeprefix("rgb(").partition(",")[0])
    assert (lightness < 64) is (scheme == "dark")
