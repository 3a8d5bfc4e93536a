"""The carrier of a cut link: an end that goes down is seen at the other, as on one cable."""

from __future__ import annotations

from contextlib import suppress

from nodes.linux import links
from nodes.linux.netlink import Connection, Monitor


class Carrier:
    """Watches the relay's interfaces; each pair is the two halves of one link.

    A half without carrier has lost its machine's end, so the other half is taken down and that end loses its carrier
    too. It comes up again with the first one's carrier.
    """

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        """Watch pairs of interfaces of the caller's network namespace."""
        self._pairs = pairs
        self._kernel = Connection()
        self._monitor = Monitor(links.RTNLGRP_LINK)

    def fileno(self) -> int:
        """The descriptor, for a selector: readable when an interface has changed."""
        return self._monitor.fileno()

    def settle(self) -> None:
        """Make each half do what the other tells."""
        with suppress(OSError):  # notifications were lost: the tables are read all the same
            self._monitor.drain()
        now = {link.name: link for link in links.list_links(self._kernel)}
        for pair in self._pairs:
            for told, telling in (pair, pair[::-1]):
                # One that is down tells nothing: it is we who took it down.
                if now[telling].up and now[told].up != now[telling].carrier:
                    links.set_up(self._kernel, now[told].index, now[telling].carrier)
                    break
