"""The page of a run in a browser: it needs nothing from anywhere, and shows what there is to see.

The run is made up, its packets are real: a page of two verdicts, one of them a fail, one with markup in its packets.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from testbed.observe.capture import Frame
from tests.browser import Browser, browser
from tests.conformance.catalogue import Cell, load
from tests.conformance.instrument.evidence.page import page
from tests.conformance.instrument.evidence.story import story
from tests.conformance.instrument.evidence.workup import Workup
from tests.conformance.instrument.verdicts import Evidence, judge
from tests.conformance.tester import packets, wire

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromedriver") and shutil.which("chromium")), reason="needs Chromium and its driver"
)
XTR, MS = ip_address("10.0.1.2"), ip_address("10.0.2.2")
HOSTILE = '</script><script>document.title = "taken"</script><img src="http://192.0.2.1/x.png" onerror="alert(1)">'
PASSED, FAILED = "tests/made_up.py::test_passes[python-v4-over-v4]", f"tests/made_up.py::test_fails[{HOSTILE}]"
BEGIN = 1_800_000_000_000_000_000


def entry(name: str) -> dict[str, Any]:
    links = [["xtr1", "core1", "core1"], ["core1", "xtr1", "xtr1"], ["ms", "core1", "core1"], ["core1", "ms", "ms"]]
    nodes = {
        "xtr1": {"kind": "lisp-router", "site": "dc1", "roles": ["etr", "itr"], "addresses": [str(XTR)]},
        "core1": {"kind": "router", "site": "core", "roles": [], "addresses": []},
        "ms": {"kind": "lisp-router", "site": "core", "roles": ["map-server"], "addresses": [str(MS)]},
    }
    lab = {"name": "made-up", "nodes": nodes, "links": links, "core": [["xtr1", "core1"], ["ms", "core1"]]}
    times = {"begin_ns": BEGIN, "call_ns": BEGIN + 10**8, "end_ns": BEGIN + 10**9}
    return {"test": name, "file": "x.pcapng", "doc": f"What it shows. {HOSTILE}", "lost": 0, "labs": [lab], **times}


def frames() -> Iterator[Frame]:
    """A registration over two hops, and data that is markup."""
    record = wire.mapping("192.168.1.0/24", 1440, [(XTR, 1, 100)])
    register = packets.datagram(XTR, MS, (4342, 4342), wire.map_register(7, [record], "secret"))
    data = packets.lisp(XTR, MS, packets.datagram(XTR, MS, (7, 7), HOSTILE.encode()))
    hops = [("core1", "xtr1", register), ("ms", "core1", register), ("core1", "xtr1", data)]
    for number, (node, interface, packet) in enumerate(hops):
        yield Frame(BEGIN + 2 * 10**8 + number * 10**6, node, interface, bytes(12) + b"\x08\x00" + packet)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of C19, which passes, and D01, which fails, and C20 without a test."""
    tests = {
        PASSED: Evidence(PASSED, ("C19",), Cell(), "passed"),
        FAILED: Evidence(
            FAILED, ("D01",), Cell("python", "v4-over-v4"), "failed", f"assert 1 == 2 {HOSTILE}", timing="scaled"
        ),
    }
    rows = [judge(one, tests.values()) for one in load().values() if one.id in ("C19", "C20", "D01")]
    entries = {name: entry(name) for name in tests}
    stories = {name: story(one, frames()) for name, one in entries.items()}
    made = tmp_path_factory.mktemp("page") / "page.html"
    made.write_text(page(rows, tests, Workup(entries=entries, stories=stories), {"Judged": HOSTILE}), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def shown(window: Browser) -> list[str]:
    """The rows that are to be seen."""
    return list(
        window.run("return [...document.querySelectorAll('details.row')].filter(r => r.offsetParent).map(r => r.id)")
    )


def test_a_verdict_opens_and_shows_its_packets(window: Browser, file: Path) -> None:
    """By its link, then a test of it: timeline, ladder, packets, fields and octets. Nothing is asked of anybody."""
    window.log("performance")
    window.open(file, "#D01")
    assert window.run("return document.getElementById('D01').open")
    text = window.run("return document.querySelector('#D01 .reason').textContent")
    assert text == f"assert 1 == 2 {HOSTILE}"
    window.run("document.querySelector('#D01 details.case > summary').click()")
    window.until("document.querySelectorAll('#D01 .packets > li').length === 2")
    found = window.run("return [...document.querySelectorAll('#D01 svg .row')].map(r => r.getAttribute('aria-label'))")
    assert found == [
        "200.0 ms, xtr1 to ms: Map-Register 192.168.1.0/24 → 10.0.1.2",
        "202.0 ms, xtr1 to core: data 10.0.1.2 → 10.0.2.2, UDP 7 → 7",
    ]
    # The keyboard alone: Enter on the ladder opens the packet.
    window.run(
        "const row = document.querySelectorAll('#D01 svg .row')[1]; row.focus();"
        "row.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    )
    window.until("document.querySelectorAll('#D01 .packet').length === 1")
    layers = window.run(
        "return [...document.querySelectorAll('#D01 .layer > summary')].map(s => s.firstChild.data.trim())"
    )
    assert layers == ["Ethernet", "IP", "UDP", "LISP Data Header", "IP", "UDP", "Raw"]
    window.run("document.querySelector('#D01 .hexbox').open = true")
    octets = "document.querySelector('#D01 .hex').textContent.split('\\n').map(line => line.slice(56)).join('')"
    window.until(f"document.querySelector('#D01 .hex') && {octets}.includes('</script><script>document.title')")
    # What packets and tests say stays text.
    assert window.run("return document.title").startswith("LISP conformance")
    assert (
        window.run("return document.images.length + document.scripts.length") == 1 + 1
    )  # the packed bundle, the script
    assert [one["message"] for one in window.log("browser")] == []
    # chrome: is the browser's own first page, which a busy machine loads late.
    assert {one.partition(":")[0] for one in window.requests()} <= {"file", "data", "blob", "chrome"}


def test_a_link_to_a_test_opens_it(window: Browser, file: Path) -> None:
    """By the requirement and its number under it: its row opens too, and its packets are drawn."""
    window.open(file, "#C19-1")
    window.until("document.querySelectorAll('#C19 .packets > li').length === 2")
    assert window.run("return document.getElementById('C19').open")


def test_a_verdict_tells_its_timing(window: Browser, file: Path) -> None:
    """Real or scaled, of the requirement and of each of its tests; nothing where no test was."""
    window.open(file)
    timing = (
        "return [...document.querySelectorAll('.timing')].map(d => [d.closest('.row').id, d.lastChild.textContent])"
    )
    assert window.run(timing) == [["D01", "scaled: clocks of routers that run faster"], ["C19", "in real time"]]
    took = "return [...document.querySelectorAll('.took')].map(d => d.textContent)"
    assert window.run(took) == ["1.00 s, scaled", "1.00 s"]


def test_filters(window: Browser, file: Path) -> None:
    """Verdict, chapter, role and words narrow what is shown, alone and together; clearing shows all."""
    window.open(file)
    assert shown(window) == ["D01", "C19", "C20"]

    def choose(name: str, value: str) -> list[str]:
        if name == "verdict":
            window.run(f"document.querySelector('[name=verdict][value={value}]').click()")
        else:
            event = "new Event('input', {bubbles: true})"
            window.run(
                f"const f = document.querySelector('[name={name}]'); f.value = '{value}'; f.dispatchEvent({event})"
            )
        return shown(window)

    def clear() -> None:
        window.run("document.querySelector('form [type=reset]').click()")
        window.until("document.querySelectorAll('details.row.hidden').length === 0")

    assert choose("verdict", "fail") == ["D01"]
    assert choose("verdict", "pass") == ["D01", "C19"]
    assert choose("role", "etr") == ["C19"]
    assert window.run("return document.querySelector('output').textContent") == "1 of 3"
    clear()
    assert choose("chapter", "Data plane") == ["D01"]
    clear()
    assert choose("text", "C20 etr") == ["C20"]
    assert choose("text", "nothing is like this") == []
    assert window.run("return document.querySelector('[data-none]').hidden") is False
    clear()
    assert shown(window) == ["D01", "C19", "C20"]
    assert [one["message"] for one in window.log("browser")] == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_fits(window: Browser, file: Path, width: int, scheme: str) -> None:
    """On a phone nothing is wider than the screen; in the dark the paper is dark."""
    window.emulate("setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
    window.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    window.open(file, "#D01")
    window.run("document.querySelector('#D01 details.case').open = true")
    window.until("document.querySelectorAll('#D01 .packets > li').length === 2")
    assert window.run("return document.documentElement.scrollWidth") == width
    paper = window.run("return getComputedStyle(document.body).backgroundColor")
    lightness = int(paper.removeprefix("rgb(").partition(",")[0])
    assert (lightness < 64) is (scheme == "dark")
