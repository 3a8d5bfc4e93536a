"""Read a topology file: YAML in, the whole resolved world out, or every mistake in it at once."""

from __future__ import annotations

from pathlib import Path

from testbed.address import allot
from testbed.drivers.checks import implementations
from testbed.language.checks import check
from testbed.language.document import decode, parse, read
from testbed.language.mobile import with_mobile_nodes
from testbed.language.problems import Problems, TopologyError
from testbed.language.shapes import Table
from testbed.language.tables import TopologyRow
from testbed.model import Topology
from testbed.resolve import resolve
from testbed.words import one_of, shortened

__all__ = ["SHIPPED", "TopologyError", "load", "loads", "shipped"]

SHIPPED = Path(__file__).resolve().parent.parent / "topologies"
"""Where the topologies that come with the testbed are."""

_LONGEST_NAME = 300


def shipped() -> list[str]:
    """The names of the topologies that come with the testbed."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(topology: str | Path, *, cwd: Path | None = None) -> Topology:
    """Load a topology.

    Args:
        topology: A file, or the name of a shipped topology ("two-dc").
        cwd: What a relative path starts from, if not the current directory.

    Raises:
        TopologyError: There is no such file, or there are mistakes in it, each told in one line.
    """
    shown = shortened(str(topology), _LONGEST_NAME)
    path = (cwd or Path()) / topology
    if shown in shipped():
        path = SHIPPED / f"{shown}.yaml"
        shown = f"topologies/{shown}.yaml"
    problems = Problems(shown)
    allowed = f"{one_of(shipped(), Path(shown).stem)}, or the path of a topology file"
    return _loads(decode(read(path, shown, allowed), problems), problems, path.stem, path.parent)


def loads(text: str, *, name: str = "topology", shown: str = "topology.yaml", directory: Path = Path()) -> Topology:
    """Load a topology from its text.

    Args:
        text: The text of a file.
        name: The topology's name unless the text gives one.
        shown: What messages call the file.
        directory: Where paths in it begin.

    Raises:
        TopologyError: There are mistakes in it.
    """
    problems = Problems(shown)
    return _loads(decode(text.encode(), problems), problems, name, directory)


def _loads(text: str, problems: Problems, name: str, directory: Path) -> Topology:
    row = Table(TopologyRow).read_row(parse(text, problems), "the file", problems, 1)
    if row is None:
        problems.raise_any()
        raise AssertionError("a file that cannot be read has a mistake")
    row = with_mobile_nodes(row)
    check(row, problems)
    plan = allot(row, problems)
    foreign = implementations(row, directory, problems)
    problems.raise_any()
    return resolve(row, plan, name, foreign)
