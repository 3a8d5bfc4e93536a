"""What a seeded defect is: a router's source changed as it is loaded, or its packets changed on the link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = "nodes/dataplane/bpf/"
"""Where the sources of the tc programs are; of everything else it is Python."""


class DefectError(Exception):
    """A defect cannot be seeded: what it is to replace is not there, or more than once."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of a router's source, and what stands there instead.

    Attributes:
        file: The source, by its path in the repository.
        before: What it says, exactly once.
        after: What the defective router's says.
    """

    file: str
    before: str
    after: str

    @property
    def module(self) -> str:
        """The dotted name of a Python source."""
        return self.file.removesuffix(".py").replace("/", ".")

    @property
    def is_program(self) -> bool:
        """Whether it is of the tc programs."""
        return self.file.startswith(PROGRAMS)

    def apply(self, source: str) -> str:
        """The source with the defect.

        Raises:
            DefectError: What it is to replace does not stand there once.
        """
        if (count := source.count(self.before)) != 1:
            raise DefectError(f"{self.file}: {self.before!r} is there {count} times; a defect needs it once")
        return source.replace(self.before, self.after)


@dataclass(frozen=True, slots=True)
class OnLink:
    """What the links into the core do to the packets that a router sends; the router itself is sound.

    Attributes:
        rule: A rule of nftables, matches and statements, for each packet that leaves by a core port.
    """

    rule: str


@dataclass(frozen=True, slots=True)
class Defect:
    """One requirement that a router does not meet.

    Attributes:
        requirement: Its ID.
        broken: What the router does, in a line.
        how: What is changed.
        roles: Whose routers have it; empty for all.
        data_path: The only data path that it can be seen on, or "".
    """

    requirement: str
    broken: str
    how: tuple[Edit | OnLink, ...]
    roles: tuple[str, ...] = ()
    data_path: str = ""

    @property
    def where(self) -> str:
        """Where it is seeded, for people."""
        places = ["links into the core" if isinstance(one, OnLink) else one.file for one in self.how]
        return ", ".join(dict.fromkeys(places))
