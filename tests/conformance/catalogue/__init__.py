"""The catalogue: every requirement that a LISP router is judged by, as data in the YAML files beside this one.

Each file is a chapter: ``title``, and ``requirements`` with these keys:

    id               D data plane, C control plane, M mapping system, X mobility, S the project's brief; two digits.
                     IDs are stable, tests name them: ``@pytest.mark.requirement("C19")``.
    source, section  Where it is said, and in which sections.
    verified         false where the text of the source was not at hand when the row was written.
    level            MUST or SHOULD (the strongest that the row has), described (by an RFC, without such a word),
                     documented (by a vendor, a paper or the project itself).
    binds            The roles that have to do it; ``network`` is the world around them.
    cells            What it has to be shown for, each by itself: data-path, family.
    families         Which pairs of IP versions, EIDs over RLOCs, where it is not all four.
    text             What is asked, in our words.
    not-implemented  Why no test can be asked of our routers: they have nothing of the kind. Whatever a test could show
                     to be wrong is no such row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from testbed.words import echoed, one_of

LEVELS = ("MUST", "SHOULD", "described", "documented")
ROLES = ("itr", "etr", "pitr", "petr", "rtr", "map-server", "map-resolver", "ddt-node", "network")
DATA_PATHS = ("python", "ebpf")
FAMILIES = ("v4-over-v4", "v6-over-v4", "v4-over-v6", "v6-over-v6")
"""IP version of the EIDs, and that of the RLOCs."""

_DIMENSIONS = ("data-path", "family")
_OPTIONAL = {"section", "verified", "cells", "families", "not-implemented"}
_NEEDED = {"id", "source", "level", "binds", "text"}


class Verdict(StrEnum):
    """What is known of a requirement, or of one of its cells."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    NOT_TESTED = "not-tested"
    NOT_IMPLEMENTED = "not-implemented"


class CatalogueError(Exception):
    """The catalogue is not in order, or has no such requirement."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One combination that a requirement is shown for; "" is whatever the test's world has."""

    data_path: str = ""
    family: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.data_path, self.family))) or "any"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A row of the catalogue.

    Attributes:
        id: Its name, for ever.
        chapter: The title of its chapter.
        source: Where it is said.
        section: In which sections of it, or "".
        verified: Whether the row was compared with the text of its source.
        level: One of :data:`LEVELS`.
        binds: Some of :data:`ROLES`.
        cells: What it has to be shown for, each by itself.
        text: What is asked.
        not_implemented: Why it cannot be asked of our routers, or "".
    """

    id: str
    chapter: str
    source: str
    section: str
    verified: bool
    level: str
    binds: tuple[str, ...]
    cells: tuple[Cell, ...]
    text: str
    not_implemented: str


Catalogue = Mapping[str, Requirement]


def load(directory: Path = Path(__file__).parent) -> Catalogue:
    """Read every chapter, in order.

    Raises:
        CatalogueError: A row is not in order: the file, the row, what is wrong, what is allowed.
    """
    catalogue: dict[str, Requirement] = {}
    for file in sorted(directory.glob("*.yaml")):
        chapter = yaml.safe_load(file.read_text(encoding="utf-8"))
        for row in chapter["requirements"]:
            one = _requirement(f"{file.name}: {row.get('id')}", chapter["title"], row)
            if one.id in catalogue:
                raise CatalogueError(f"{file.name}: {one.id}: there are two of that ID")
            catalogue[one.id] = one
    return catalogue


def _requirement(where: str, chapter: str, row: Mapping[str, Any]) -> Requirement:
    if missing := _NEEDED - row.keys():
        raise CatalogueError(f"{where}: no {', '.join(sorted(missing))}")
    _check(where, "key", row, _NEEDED | _OPTIONAL)
    _check(where, "level", [row["level"]], LEVELS)
    _check(where, "role", row["binds"], ROLES)
    _check(where, "cell", row.get("cells", ()), _DIMENSIONS)
    _check(where, "family", row.get("families", ()), FAMILIES)
    cells = row.get("cells", ())
    paths = DATA_PATHS if "data-path" in cells else ("",)
    families = row.get("families", FAMILIES) if "family" in cells else ("",)
    return Requirement(
        id=row["id"],
        chapter=chapter,
        source=row["source"],
        section=row.get("section", ""),
        verified=row.get("verified", True),
        level=row["level"],
        binds=tuple(row["binds"]),
        cells=tuple(Cell(*one) for one in product(paths, families)),
        text=row["text"],
        not_implemented=row.get("not-implemented", ""),
    )


def _check(where: str, what: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    if wrong := [one for one in given if one not in allowed]:
        raise CatalogueError(f"{where}: {wrong[0]} is no {what}; allowed are {', '.join(sorted(allowed))}")


def named(catalogue: Catalogue, identifiers: Iterable[str]) -> list[str]:
    """The IDs as they are in the catalogue, each once, in its order.

    Raises:
        CatalogueError: One is not there; the message says what is close to it.
    """
    asked = {one.upper() for one in identifiers}
    for one in sorted(asked - catalogue.keys()):
        full = one[:1] + one[1:].zfill(2)  # D2 is more likely D02 than D12
        known = one_of(catalogue, full, "requirements")
        hint = f" (did you mean '{full}'?)" if full in catalogue else ""
        raise CatalogueError(f"there is no requirement {echoed(one)}; {known}{hint}")
    return [one for one in catalogue if one in asked]


def binding(catalogue: Catalogue, role: str) -> list[str]:
    """The IDs of what binds a role.

    Raises:
        CatalogueError: There is no such role.
    """
    roles = sorted({one for requirement in catalogue.values() for one in requirement.binds})
    if role not in roles:
        raise CatalogueError(f"there is no role {echoed(role)}; {one_of(roles, role, 'roles')}")
    return [one.id for one in catalogue.values() if role in one.binds]
