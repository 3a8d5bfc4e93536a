"""The language of driver files: every key that one may hold."""
# ruff: noqa: RUF009 - item() is dataclasses.field()

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

from nodes.lisp.config import ROLE_SETS, DataPlane
from testbed.drivers.templates import Template
from testbed.language.document import Scalar
from testbed.language.scalars import BOOLEAN, LAB_NAME, TEXT, ScalarShape, Wrong, described, number, word
from testbed.language.shapes import At, Listed, Many, One, Row, Table, item
from testbed.language.tables import ALGORITHMS

SIGNALS = ("TERM", "INT", "QUIT", "HUP", "KILL", "USR1", "USR2")


def _template(scalar: Scalar, allowed: str) -> Template:
    if scalar.kind != "str":
        raise Wrong(f"is {described(scalar)}", f'{allowed}; in quotes ("{scalar.text}") if it is meant')
    return Template(scalar.text, scalar.line + scalar.block)


def _regex(scalar: Scalar, allowed: str) -> str:
    try:
        re.compile(scalar.text)
    except re.error as error:
        raise Wrong(f"'{scalar.text}' is no regular expression ({error})", allowed) from None
    return scalar.text


def _below(scalar: Scalar, allowed: str) -> str:
    path = PurePosixPath(scalar.text)
    if scalar.kind != "str" or path.is_absolute() or ".." in path.parts or not path.name or "\0" in scalar.text:
        raise Wrong(f"{described(scalar)} is no path below the node's directory", allowed)
    return str(path)


TEMPLATE = ScalarShape("template", "allowed is text, with {{ values }} of the topology", _template, {"type": "string"})
REGEX = ScalarShape("regular expression", "allowed is a regular expression of Python's", _regex, {"type": "string"})
BELOW = ScalarShape("path", "allowed is a path such as router.conf or etc/router.conf", _below, {"type": "string"})
MOST_END_SECONDS = 30
_SECONDS = number("seconds", 0.1, 600, whole=False)
_END_SECONDS = number("seconds", 0.1, MOST_END_SECONDS, whole=False)
_PORT = number("port", 1, 65535)


@dataclass(frozen=True, kw_only=True)
class FileRow(Row):
    """A file that is written before the router is started."""

    KIND: ClassVar[str] = "file"

    path: At[str] | None = item(One(BELOW), "Where, below the node's directory", required=True)
    text: At[Template] | None = item(One(TEMPLATE), "What stands in it", required=True)


@dataclass(frozen=True, kw_only=True)
class ReadyRow(Row):
    """How the lab knows that the router works; of several conditions all have to hold."""

    KIND: ClassVar[str] = "ready"

    log: At[str] | None = item(One(REGEX), "A line of its output, or of its log, matches this regular expression")
    file: At[Template] | None = item(One(TEMPLATE), "This file is there")
    udp: At[int] | None = item(One(_PORT), "This UDP port is bound in its node")
    tcp: At[int] | None = item(One(_PORT), "This TCP port is listened to in its node")
    command: tuple[At[Template], ...] = item(Many(TEMPLATE), "This command ends with status 0 in its node", default=())
    registered: At[bool] | None = item(
        One(BOOLEAN), "Whether Map-Servers that can be asked have to have all its EID-prefixes; false if left out"
    )
    seconds: At[float] | None = item(One(_SECONDS), "How long it may take; 20 if left out")


@dataclass(frozen=True, kw_only=True)
class StopRow(Row):
    """How the router is ended."""

    KIND: ClassVar[str] = "stop"

    signal: At[str] | None = item(One(word("signal", SIGNALS)), "The signal that asks it to; TERM if left out")
    seconds: At[float] | None = item(One(_END_SECONDS), "How long it has before it is killed; 2 if left out")


@dataclass(frozen=True, kw_only=True)
class QueryRow(Row):
    """How the router is asked for a table."""

    KIND: ClassVar[str] = "query"

    command: tuple[At[Template], ...] = item(
        Many(TEMPLATE),
        "The command, run in its node. What it prints is the table as JSON, as `ci/lab show NODE WHAT --json` has it, "
        "unless lines says otherwise",
        required=True,
        default=(),
    )
    lines: At[str] | None = item(
        One(REGEX),
        "A regular expression whose named groups are the columns; each line that it matches is a row, and rows of one "
        "eid are one, with a locator for each rloc",
    )


@dataclass(frozen=True, kw_only=True)
class QueriesRow(Row):
    """What the router can be asked while it runs."""

    KIND: ClassVar[str] = "queries"

    map_cache: QueryRow | None = item(Table(QueryRow, "command"), "Its map-cache")
    locators: QueryRow | None = item(Table(QueryRow, "command"), "The RLOCs that it sends to, and their states")
    contacts: QueryRow | None = item(Table(QueryRow, "command"), "Which EID exchanged data with which RLOC")
    database: QueryRow | None = item(Table(QueryRow, "command"), "The EID-prefixes of its site")
    registrations: QueryRow | None = item(Table(QueryRow, "command"), "The registrations at it as a Map-Server")
    dynamic_eids: QueryRow | None = item(Table(QueryRow, "command"), "The hosts that it found")
    roles: QueryRow | None = item(Table(QueryRow, "command"), "What it does")
    statistics: QueryRow | None = item(Table(QueryRow, "command"), "Its counters")
    interfaces: QueryRow | None = item(Table(QueryRow, "command"), "Its interfaces")
    lig: QueryRow | None = item(
        Table(QueryRow, "command"), "Ask the mapping system for {{ eid }} in {{ instance_id }}, {{ timeout }} seconds"
    )
    set_locator: QueryRow | None = item(
        Table(QueryRow, "command"),
        "Change {{ priority }} and {{ weight }} of {{ rloc }} for {{ eid }} in {{ instance_id }}",
    )


@dataclass(frozen=True, kw_only=True)
class DriverRow(Row):
    """A driver file."""

    KIND: ClassVar[str] = "driver"

    name: At[str] | None = item(One(LAB_NAME), "What the implementation is called", required=True)
    title: At[str] | None = item(One(TEXT), "One line that says what it is")
    roles: tuple[At[str], ...] = item(
        Many(word("role", ROLE_SETS)), "What it can be: roles or sets of them", required=True, default=()
    )
    together: At[bool] | None = item(
        One(BOOLEAN), "Whether one process can be several of them at once; true if left out"
    )
    algorithms: tuple[At[str], ...] = item(
        Many(word("algorithm", ALGORITHMS)), "The Algorithm IDs that it knows; all, if left out", default=()
    )
    key_ids: tuple[At[int], ...] = item(
        Many(number("Key ID", 0, 255)), "The Key IDs that it knows; all, if left out", default=()
    )
    dataplanes: tuple[At[str], ...] = item(
        Many(word("data path", [one.value for one in DataPlane if one is not DataPlane.AUTO])),
        "Which of the topology's data planes it can be told to use; if left out, it has one of its own",
        default=(),
    )
    time_scale: At[bool] | None = item(
        One(BOOLEAN), "Whether its clock can run faster than real time, by {{ time_scale }}; false if left out"
    )
    needs: tuple[At[str], ...] = item(Many(TEXT), "Programs that have to be on the PATH", default=())
    forwarding: At[bool] | None = item(
        One(BOOLEAN), "Whether the lab has the kernel of its node forward packets before it starts; false if left out"
    )
    files: tuple[FileRow, ...] = item(
        Listed(Table(FileRow)), "The files that are written for it, each with path and text", default=()
    )
    start: tuple[At[Template], ...] = item(
        Many(TEMPLATE),
        "The command that runs it in the foreground, in the node's directory; what it writes is its log",
        required=True,
        default=(),
    )
    log: At[str] | None = item(One(BELOW), "The log file that it writes itself; its output, if left out")
    ready: ReadyRow | None = item(Table(ReadyRow), "How the lab knows that it works", required=True)
    stop: StopRow | None = item(Table(StopRow, "signal"), "How it is ended")
    queries: QueriesRow | None = item(Table(QueriesRow), "What it can be asked while it runs")
