"""A move told in the terminal, as it happens: plain lines wherever the output is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testbed.act.mobility.moved import Moved
from testbed.observe.report.mobility.findings import Findings
from testbed.observe.report.mobility.words import milliseconds, sentence, several
from testbed.observe.tables import draw
from testbed.observe.timeline import Event

_STYLES = {
    "link-down": "bold red", "link-up": "bold green", "first-packet": "green", "map-cache": "bright_blue",
    "map-register": "cyan", "detected": "cyan", "map-notify": "yellow", "map-notify-ack": "yellow",
    "solicit-map-request": "magenta", "map-request": "magenta", "map-reply": "bright_blue", "host-left": "dim",
}  # fmt: skip


class Narrator:
    """Says what happens, a line each."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)

    def say(self, words: str, style: str = "") -> None:
        """Say something."""
        self._console.print(Text(words, style=style))

    def begins(self, host: str, site: str, correspondents: Sequence[str]) -> None:
        """Say who talks with whom."""
        self.say(
            f"{host}, in {site}, talks with {', '.join(correspondents)}, by IPv4 and IPv6: with each it exchanges\n"
            "1000 datagrams a second each way, and bytes both ways over TCP sessions that stay open"
        )

    def moved(self, moved: Moved) -> None:
        """Say that a host was moved."""
        self.say(f"\n{moved.node} moves from {moved.origin} to {moved.site}", "bold")

    def tell(self, events: Sequence[Event], begin: float) -> None:
        """Say the events of a move, each with its time since the move began; what was said already is counted."""
        said: set[str] = set()
        for one in events:
            words = sentence(one)
            if words not in said:
                time = Text(f"{milliseconds(one.at - begin):>10}  ", style="dim")
                self._console.print(time + Text(words, style=_STYLES.get(one.kind, "")))
            said.add(words)
        if len(said) < len(events):
            self.say(f"{'':10}  and {several(len(events) - len(said), 'message')} that say one of these again", "dim")

    def blackouts(self, findings: Findings) -> None:
        """Show how long each correspondent and the host did not hear of each other by each move."""
        probes = {(one.correspondent, one.direction, one.version): one for one in findings.datagrams}
        ways = list(dict.fromkeys((direction, version) for _, direction, version in probes))
        self.say("")
        for number, moved in enumerate(findings.timeline.moves):
            drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
            drawn.add_column("Correspondent")
            for direction, version in ways:
                drawn.add_column(f"{'from' if direction == 'to' else 'to'} {moved.node}, IPv{version}", justify="right")
            for name in findings.correspondents:
                gaps = (findings.gap(probes[name, *way], number) for way in ways)
                drawn.add_row(name, *(milliseconds(gap[1] - gap[0]) if gap else "" for gap in gaps))
            draw(drawn, f"the move to {moved.site}: longest time without a datagram")

    def verdict(self, findings: Findings) -> None:
        """Say whether all is as it should be."""
        self.say("\n".join(findings.sentences()), "bold green" if findings.ok else "bold red")
