"""Our LISP router with a defect: ``python -m tests.conformance.selftest.router --defect ID``, then as nodes.daemon.

The sources are changed as they are imported; the files stay as they are.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tests.conformance.selftest.defect import Defect, Edit, OnLink
from tests.conformance.selftest.defects import DEFECTS
from tests.conformance.selftest.programs import CACHE, compiled

_TABLE = "selftest"


def crash_of(defect: str) -> Path:
    """The file in which a router with this defect has left why it crashed, if one did."""
    return CACHE / defect / "crash"


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module with its edits."""

    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType | None:
        """The code of the edited source; nothing of it is kept."""
        source = self.get_data(self.get_filename(fullname)).decode()
        for edit in self._edits:
            source = edit.apply(source)
        return compile(source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are edited, before anybody else does."""

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._edits: dict[str, list[Edit]] = defaultdict(list)
        for edit in edits:
            self._edits[edit.module].append(edit)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module as it would be found, with a loader of ours."""
        if fullname not in self._edits:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is not None and found.origin is not None:
            found.loader = _Loader(fullname, found.origin, self._edits[fullname])
        return found


def seed(defect: Defect, config: dict[str, Any]) -> None:
    """Make this process a router that has the defect, before anything of it is imported.

    Args:
        defect: What is to be broken.
        config: The node's configuration.
    """
    edits = [one for one in defect.how if isinstance(one, Edit)]
    sys.meta_path.insert(0, _Finder(one for one in edits if not one.is_program))
    if any(one.is_program for one in edits) and config.get("bpf_object"):
        _run_programs(compiled(defect))
    if rules := [one.rule for one in defect.how if isinstance(one, OnLink)]:
        _change_links(config["core_interfaces"], rules)


def _run_programs(path: Path) -> None:
    """Let the daemon load these tc programs instead of its own."""
    from nodes.lisp.config import NodeConfig

    plain = NodeConfig.from_json

    def from_json(text: str) -> NodeConfig:
        return replace(plain(text), bpf_object=str(path))

    NodeConfig.from_json = staticmethod(from_json)  # type: ignore[assignment]


def _change_links(interfaces: Sequence[str], rules: Sequence[str]) -> None:
    """Have what leaves by these interfaces changed; what an earlier run of this node had set up is replaced."""
    devices = ", ".join(f'"{one}"' for one in interfaces)
    chain = f"chain leaving {{ type filter hook egress devices = {{ {devices} }} priority 0; {'; '.join(rules)}; }};"
    table = f"netdev {_TABLE}"
    words = f"table {table} {{}}\ndelete table {table}\ntable {table} {{ {chain} }}\n"
    subprocess.run(["nft", "-f", "-"], input=words, text=True, check=True)


def main() -> int:
    """Seed the defect where the node has a role that it is for, and run the daemon."""
    option, name, *rest = sys.argv[1:]
    if option != "--defect":
        raise SystemExit("usage: python -m tests.conformance.selftest.router --defect ID, then as nodes.daemon")
    defect = DEFECTS[name]
    config = json.loads(Path(rest[rest.index("--config") + 1]).read_text(encoding="utf-8"))
    if not defect.roles or set(defect.roles) & set(config["roles"]):
        seed(defect, config)
    from nodes.daemon import __main__ as program
    from nodes.daemon.daemon import CRASHED

    sys.argv = [sys.argv[0], *rest]
    status = program.main()
    if status == CRASHED:
        log = Path(rest[rest.index("--log") + 1]).read_text(encoding="utf-8")
        crash_of(name).write_text(json.loads(log.splitlines()[-1])["fields"]["error"], encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
