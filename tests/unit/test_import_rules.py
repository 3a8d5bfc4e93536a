"""The doors between the rooms: who may import what. Every import in the source is walked, also those in functions."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Pure computation: no sockets, files, clock, randomness, logging, processes or event loop.
PURE_STANDARD_LIBRARY = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "struct",
    "types",
    "typing",
}


def within(name: str, *rooms: str) -> bool:
    """Whether a dotted name is one of the rooms or lies in one."""
    return any(name == room or name.startswith(room + ".") for room in rooms)


def violation(importer: str, imported: str) -> str | None:
    """The rule that this import breaks, or None.

    Args:
        importer: The dotted name of the importing module.
        imported: The dotted name of what it imports, down to the imported attribute.
    """
    ours = within(imported, "nodes", "testbed", "tests", "tasks", "ci")
    standard = imported.partition(".")[0] in sys.stdlib_module_names
    if within(importer, "nodes", "testbed") and within(imported, "tests", "tasks", "ci"):
        return "product code imports neither tests nor tasks nor ci"
    if within(importer, "nodes") and within(imported, "testbed"):
        return "nothing under nodes imports testbed"
    if within(importer, "nodes.lisp") and not within(imported, "nodes.lisp"):
        if not standard:
            return "nodes.lisp imports the standard library and itself"
        if not any(within(imported, module) for module in PURE_STANDARD_LIBRARY):
            return "nodes.lisp imports pure modules of the standard library only"
    if within(importer, "nodes.linux") and not within(imported, "nodes.linux") and not standard:
        return "nodes.linux imports the standard library and itself"
    if within(importer, "nodes.relay") and not within(imported, "nodes.linux", "nodes.relay") and not standard:
        return "the relay imports the standard library, nodes.linux and itself"
    if within(importer, "nodes.dataplane", "nodes.daemon"):
        allowed = ("nodes.lisp", "nodes.linux", "nodes.dataplane", "nodes.daemon")
        if not standard and not within(imported, *allowed):
            return "the data plane and the daemon import the standard library, nodes.lisp and nodes.linux"
        if within(importer, "nodes.dataplane") and within(imported, "nodes.daemon"):
            return "the data plane does not know the daemon"
    if within(imported, "mininet") and not within(importer, "nodes.kinds", "testbed.server", "tests"):
        return "only testbed.server and nodes.kinds import mininet"
    if within(imported, "ryu", "os_ken", "eventlet") and not within(importer, "nodes.fabric"):
        return "only nodes.fabric imports ryu or os-ken"
    if within(importer, "nodes") and within(imported, "scapy"):
        return "scapy stays out of every daemon"
    # It takes 0.4 to 1 s: whoever runs a task that does not need it does not wait for it.
    if within(imported, "scapy") and not within(importer, "testbed.observe.scapy_lisp", "tests"):
        return "only testbed.observe.scapy_lisp and tests import scapy"
    if within(importer, "testbed.observe.scapy_lisp") and ours and not within(imported, "testbed.observe.scapy_lisp"):
        return "the Scapy layers share no code with anything of ours"
    if within(importer, "testbed.observe") and within(imported, "nodes"):
        return "what observes is independent of nodes"
    if (
        within(importer, "tests.conformance.tester")
        and within(imported, "nodes")
        and not within(imported, "nodes.linux")
    ):
        return "the tester that judges is independent of nodes; nodes.linux sets its links"
    if within(importer, "testbed") and ours and within(imported, "nodes"):
        protocol = ("nodes.lisp.config", "nodes.lisp.eid", "nodes.lisp.errors")
        shared = (*protocol, "nodes.linux", "nodes.dataplane.bpf.compiler")
        allowed = (*shared, *(("nodes.kinds",) if within(importer, "testbed.server") else ()))
        if not within(imported, *allowed):
            return (
                "testbed imports nodes.lisp.config, .eid, .errors, nodes.linux and what compiles the tc programs; "
                "its server nodes.kinds as well"
            )
    return None


def module_name(path: Path) -> str:
    """The dotted name of a source file, given relative to the repository."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, importer: str, *, package: bool) -> Iterator[tuple[int, str]]:
    """Each import in a source: its line and the dotted name imported; relative ones are made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = importer.split(".")
                parent = parts[: len(parts) - node.level + package]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            # `from nodes.lisp import wire` imports nodes.lisp.wire; of the standard library the module is what counts.
            whole = base.partition(".")[0] in sys.stdlib_module_names
            yield from ((node.lineno, base if whole else f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called in {"__import__", "import_module", "importlib.import_module"}:
                yield node.lineno, str(node.args[0].value)


def broken_doors(root: Path) -> list[str]:
    """Every import below a root that breaks a rule, as `file:line: import: rule`."""
    found = []
    for path in sorted([*root.glob("nodes/**/*.py"), *root.glob("testbed/**/*.py"), *root.glob("tests/**/*.py")]):
        relative = path.relative_to(root)
        importer = module_name(relative)
        for line, imported in imports(path.read_text(), importer, package=path.name == "__init__.py"):
            if rule := violation(importer, imported):
                found.append(f"{relative}:{line}: import of {imported}: {rule}")
    return found


def test_every_import_uses_a_door() -> None:
    assert broken_doors(REPOSITORY) == []


def test_what_the_product_imports_is_installed_without_the_suite() -> None:
    """A machine where nobody runs tests has the dependencies of pyproject.toml alone."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        installed = {*tomllib.load(file)["project"]["dependencies"], "markupsafe"}  # Jinja2 brings the latter
    of = packages_distributions()
    needed: set[str] = set()
    for path in [REPOSITORY / "tasks.py", *REPOSITORY.glob("nodes/**/*.py"), *REPOSITORY.glob("testbed/**/*.py")]:
        importer = module_name(path.relative_to(REPOSITORY))
        for _, imported in imports(path.read_text(), importer, package=path.name == "__init__.py"):
            top = imported.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in {"nodes", "testbed", "tests", "ci"}:
                needed |= {name.lower() for name in of[top]}
    assert {"mininet", "scapy"} <= needed
    assert needed <= installed


@pytest.mark.parametrize("module", ["tasks", "testbed.lab", "testbed.server.__main__", "nodes.daemon.__main__"])
def test_scapy_is_not_loaded_where_it_is_not_used(module: str) -> None:
    """Nothing on the way to a task, a lab or a daemon imports it, by whatever detour."""
    program = f"import sys, {module}; sys.exit('scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("nodes/lisp/engine/itr.py", "import socket", "pure modules"),
        ("nodes/lisp/engine/itr.py", "import asyncio", "pure modules"),
        ("nodes/lisp/engine/itr.py", "import logging.handlers", "pure modules"),
        ("nodes/lisp/engine/itr.py", "from time import monotonic", "pure modules"),
        ("nodes/lisp/engine/itr.py", "from random import getrandbits", "pure modules"),
        ("nodes/lisp/engine/itr.py", "import yaml", "and itself"),
        ("nodes/lisp/engine/itr.py", "from nodes.linux import tun", "and itself"),
        ("nodes/lisp/engine/itr.py", "def f():\n    import os", "pure modules"),
        ("nodes/lisp/engine/itr.py", "from ...daemon import ports", "and itself"),
        ("nodes/lisp/__init__.py", "from ..daemon import ports", "and itself"),
        ("nodes/lisp/eid.py", "__import__('socket')", "pure modules"),
        ("nodes/linux/netlink.py", "from nodes.lisp import eid", "nodes.linux"),
        ("nodes/relay/end.py", "from nodes.kinds import link", "the relay imports"),
        ("nodes/daemon/main.py", "from testbed import model", "nothing under nodes imports testbed"),
        ("nodes/daemon/main.py", "import testbed.model", "nothing under nodes imports testbed"),
        ("nodes/daemon/main.py", "import scapy.all", "the data plane and the daemon"),
        ("nodes/daemon/main.py", "from nodes.kinds import host", "the data plane and the daemon"),
        ("nodes/daemon/main.py", "from mininet.node import Node", "the data plane and the daemon"),
        ("nodes/dataplane/decision.py", "from nodes.daemon import main", "does not know the daemon"),
        ("nodes/kinds/host.py", "from scapy.all import IP", "scapy stays out"),
        ("nodes/kinds/fabric.py", "import ryu", "only nodes.fabric"),
        ("testbed/lab.py", "from mininet.net import Mininet", "import mininet"),
        ("testbed/lab.py", "from nodes.lisp import wire", "testbed imports"),
        ("testbed/lab.py", "import nodes.lisp.engine", "testbed imports"),
        ("testbed/lab.py", "from nodes.daemon import main", "testbed imports"),
        ("testbed/lab.py", "from nodes.kinds import host", "testbed imports"),
        ("testbed/lab.py", "import importlib\nimportlib.import_module('nodes.lisp.wire')", "testbed imports"),
        ("testbed/lab.py", "import os_ken", "only nodes.fabric"),
        ("testbed/observe/decoder.py", "from nodes.linux import netlink", "independent"),
        ("testbed/observe/capture.py", "from nodes.lisp.eid import EidPrefix", "independent"),
        ("testbed/lab.py", "from scapy.all import IP", "only testbed.observe.scapy_lisp"),
        ("testbed/observe/capture.py", "import scapy.packet", "only testbed.observe.scapy_lisp"),
        ("testbed/observe/scapy_lisp/data.py", "from nodes.linux import tun", "share no code"),
        ("testbed/observe/scapy_lisp/data.py", "from testbed.observe import decoder", "share no code"),
        ("testbed/observe/report/__init__.py", "from nodes.linux import tun", "independent"),
        ("tests/conformance/tester/wire.py", "from nodes.lisp import wire", "the tester that judges is independent"),
        ("tests/conformance/tester/wire.py", "from nodes.daemon import ports", "the tester that judges is independent"),
        ("testbed/lab.py", "import tasks", "neither tests nor tasks"),
    ],
)
def test_a_broken_door_is_found(tmp_path: Path, path: str, source: str, rule: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source + "\n")
    (found,) = broken_doors(tmp_path)
    assert found.startswith(f"{path}:")
    assert rule in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("nodes/lisp/engine/itr.py", "from collections.abc import Mapping\nfrom nodes.lisp.eid import EidPrefix"),
        ("nodes/lisp/engine/itr.py", "from ..eid import EidPrefix\nfrom . import etr"),
        ("nodes/daemon/main.py", "import selectors\nfrom nodes.lisp import wire\nfrom nodes.linux import tun"),
        ("nodes/kinds/host.py", "from mininet.node import Node\nfrom nodes.linux import netlink"),
        ("nodes/fabric/app.py", "import ryu.base.app_manager"),
        ("testbed/lab.py", "from nodes.lisp.config import NodeConfig\nfrom nodes.linux import namespaces"),
        ("testbed/observe/scapy_lisp/ecm.py", "from scapy.packet import Packet\nfrom . import message"),
        ("testbed/server/build.py", "from nodes.kinds.host import Host\nfrom mininet.net import Mininet"),
        ("tests/conformance/tester/offloads.py", "from nodes.linux import ethtool"),
        ("tests/engine/test_itr.py", "from nodes.lisp.engine import Engine\nfrom testbed.lab import Lab"),
    ],
)
def test_a_door_is_open(tmp_path: Path, path: str, source: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source + "\n")
    assert broken_doors(tmp_path) == []
