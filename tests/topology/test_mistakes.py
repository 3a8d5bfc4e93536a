"""Every mistake in a topology file is told in one exact line: where, what, what is allowed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from testbed.load import TopologyError, load, loads
from tests.topology.mistakes import BASE, REPLACEMENTS, SPARE, spoil
from tests.topology.test_families import DUAL
from tests.topology.test_language import ROUTED, STRETCHED, TENANTS

MOBILE = spoil([*SPARE])


def _golden() -> dict[str, list[str]]:
    text = Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8")
    sections = (section.splitlines() for section in text.removeprefix("## ").split("\n## "))
    return {case: [line for line in lines if line] for case, *lines in sections}


GOLDEN = _golden()


def test_the_base_is_free_of_mistakes() -> None:
    assert loads(BASE).title == "A base to spoil"


def test_every_case_has_its_golden_text() -> None:
    assert [case for case, *_ in REPLACEMENTS] == list(GOLDEN)


@pytest.mark.parametrize(("case", "replacements"), [(case, pairs) for case, *pairs in REPLACEMENTS])
def test_mistake(case: str, replacements: list[str]) -> None:
    with pytest.raises(TopologyError) as caught:
        loads(spoil(replacements), shown="lab.yaml")
    assert list(caught.value.problems) == GOLDEN[case]
    assert str(caught.value) == "\n".join(GOLDEN[case])


FILES = [
    ("empty", b"", "1: the file is empty, allowed is a topology with at least core and sites"),
    ("blank", b" \n\n", "1: the file is empty, allowed is a topology with at least core and sites"),
    ("comments", b"# nothing\n", "1: the file is empty, allowed is a topology with at least core and sites"),
    ("null", b"---\n...\n", "1: the file is empty, allowed is a topology with at least core and sites"),
    ("binary", b"\x7fELF\x02\x01\x00\x00", "1: this is not a text file, allowed is YAML in UTF-8"),
    ("latin1", b"name: x\ntitle: caf\xe9\n", "2: this is not a text file, allowed is YAML in UTF-8"),
    ("utf16", "title: x\n".encode("utf-16"), "1: this is not a text file, allowed is YAML in UTF-8"),
    ("control", b"name: x\ntitle: a\x7fb\n", "2: this is not a text file, allowed is YAML in UTF-8"),
    ("scalar", b"two-dc\n", None),
    ("list", b"- core\n", None),
    ("long", b"#" * (4 * 1024 * 1024 + 1), "1: the file is too long, allowed are 4096 KiB"),
    ("deep", b"[" * 200_000, "1: lists and mappings are nested too deeply, allowed are 16 levels"),
]


@pytest.mark.parametrize(("name", "data", "message"), FILES, ids=[name for name, _, _ in FILES])
def test_file_that_is_no_topology(tmp_path: Path, name: str, data: bytes, message: str | None) -> None:
    (tmp_path / "bad.yaml").write_bytes(data)
    with pytest.raises(TopologyError) as caught:
        load("bad.yaml", cwd=tmp_path)
    if message is None:
        keys = (
            "name, title, time-scale, routing, dataplane, probing, path-mtu-discovery, locator-status-bits, "
            "pubsub, address-space, core, mapping-system, proxies, sites, mobile-nodes, expect"
        )
        what = "'two-dc'" if name == "scalar" else "a list"
        message = f"1: the file: is {what}, allowed is a mapping of {keys}"
    assert caught.value.problems == (f"bad.yaml:{message}",)


def test_alias_that_contains_itself_is_refused() -> None:
    with pytest.raises(TopologyError, match="no value is anchored as 'a' above"):
        loads("core: &a {routers: *a}\n")


def test_anchors_are_understood() -> None:
    text = BASE.replace("key: dc1-secret", "key: &secret shared").replace("key: dc2-secret", "key: *secret")
    keys = [peer.key.secret for node in loads(text).lisp_routers if node.lisp for peer in node.lisp.map_servers]
    assert keys == ["shared", "shared"]


def test_no_such_file_lists_what_is_shipped(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as caught:
        load("two-cd", cwd=tmp_path)
    text = str(caught.value)
    assert text.startswith("two-cd: no such file, allowed are ")
    assert "minimal" in text
    assert "(did you mean 'two-dc'?)" in text
    assert "\n" not in text


@pytest.mark.parametrize("path", ["", ".", "..", "/dev/zero", "a\0b", "x" * 300])
def test_what_is_no_file_is_one_line(tmp_path: Path, path: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load(path, cwd=tmp_path)
    assert len(caught.value.problems) == 1


def test_all_mistakes_at_once() -> None:
    text = (
        BASE.replace("roles: map-server", "roles: mapserver")
        .replace("192.168.2.0/24", "192.168.2.1/24")
        .replace("hosts: client", "hosts: averylonghostname")
        .replace("links: core1}", "links: cor1}")
    )
    with pytest.raises(TopologyError) as caught:
        loads(text, shown="lab.yaml")
    lines = [int(problem.split(":")[1]) for problem in caught.value.problems]
    assert lines == [10, 10, 29, 38, 39]


def test_spoilt_files_never_end_in_another_error() -> None:
    """Cut, repeat, swap and garble lines and characters: the answer is a topology or a TopologyError."""
    chance = random.Random(9301)
    worlds = [text for base in (BASE, DUAL, ROUTED, TENANTS, STRETCHED, MOBILE) for text in (base, loads(base).source)]
    refused: list[tuple[str, ...]] = []
    for _ in range(400):
        lines = chance.choice(worlds).splitlines()
        for _ in range(chance.randint(1, 3)):
            at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
            action = chance.randrange(5)
            if action == 0 and len(lines) > 1:
                del lines[at]
            elif action == 1:
                lines.insert(at, lines[other])
            elif action == 2:
                lines[at], lines[other] = lines[other], lines[at]
            elif action == 3 and lines[at]:
                position = chance.randrange(len(lines[at]))
                lines[at] = (
                    lines[at][:position] + chance.choice("0:/[]{}-,\t#&*!|>'\"%@`\u00e9") + lines[at][position + 1 :]
                )
            elif ": " in lines[at]:
                value = chance.choice(
                    ["", "null", "[]", "{}", "0", "core1", "h1", "10.0.0.0/8", "1e9", "~", "yes", "-1"]
                )
                lines[at] = f"{lines[at].partition(': ')[0]}: {value}"
        try:
            loads("\n".join(lines))
        except TopologyError as error:
            refused.append(error.problems)
    assert len(refused) > 100
    assert all(problems and not any("\n" in problem for problem in problems) for problems in refused)
