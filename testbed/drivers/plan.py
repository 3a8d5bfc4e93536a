"""What the lab process is told of a router that is not ours: files, command, how to know that it is ready."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """How the lab knows that a router works; every condition that is given has to hold.

    Attributes:
        log: A regular expression that a line of its log matches.
        file: A file that is there.
        udp: A UDP port that is bound in its node.
        tcp: A TCP port that is listened to in its node.
        command: A command that ends with status 0 in its node.
        registered: Whether our Map-Servers have to have all its EID-prefixes.
        seconds: How long it may take.
    """

    log: str = ""
    file: str = ""
    udp: int = 0
    tcp: int = 0
    command: tuple[str, ...] = ()
    registered: bool = False
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One node's router, every template filled in.

    Attributes:
        implementation: What runs there, in its driver's word.
        driver: The driver's file.
        files: What it is configured by: paths below the node's directory, and their texts.
        start: The command that runs it in the foreground.
        ready: When it counts as ready.
        stop_signal: The signal that asks it to end.
        stop_seconds: How long it has for that before it is killed.
        log: The log file that it writes itself, below the node's directory; "" where its output is all.
        forwarding: Whether the kernel of its node forwards packets.
    """

    implementation: str
    driver: str
    files: tuple[tuple[str, str], ...]
    start: tuple[str, ...]
    ready: Ready
    stop_signal: int
    stop_seconds: float
    log: str
    forwarding: bool


@dataclass(frozen=True, slots=True)
class Query:
    """How a router is asked for a table.

    Attributes:
        command: What is run in its node.
        lines: The regular expression of the lines that it prints, "" where it prints JSON.
    """

    command: tuple[str, ...]
    lines: str
