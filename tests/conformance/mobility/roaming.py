"""A host that roams among the data centres of the world ``mobility``, and who talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from testbed.act.mobility.moved import Moved
from testbed.act.mobility.probes import Probes, Seen
from testbed.act.ping import first_reply
from testbed.lab import Lab
from tests.conformance.tester.daemons import map_cache, registrations
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.places import rloc
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen as Captured
from tests.conformance.tester.watch import Watch

MOBILE = "mobile"
XTRS = {"dc1": "xtr1", "dc2": "xtr2", "dc3": "xtr3"}
"""The router of each data centre."""
REMOTE = {"b1": "xtr4", "client": "pxtr"}
"""Correspondents outside, and the ITR or PITR that encapsulates for them."""
INTERVAL_NS = 4_000_000
"""Between two datagrams of a probe: as often as costs little."""


@dataclass(frozen=True)
class Roaming:
    """The world, by one data path, of one IP version.

    Attributes:
        lab: The lab.
        dataplane: What its routers forward by.
        version: The IP version of EIDs and RLOCs.
    """

    lab: Lab
    dataplane: str
    version: int

    @property
    def eid(self) -> IPAddress:
        """The address of the host that moves."""
        return self.lab[MOBILE].address_of(self.version)

    @property
    def subnet(self) -> Any:
        """The subnet of the data centres."""
        return self.lab.topology.sites["dc1"].dynamic_eids[0].network

    @property
    def key(self) -> str:
        """The secret that the data centres share with the Map-Server."""
        config = self.lab["xtr1"].lisp
        assert config is not None
        return config.map_servers[0].key.secret

    @property
    def place(self) -> str:
        """The site where the host is."""
        return self.lab.places()[MOBILE]

    def rloc(self, node: str) -> IPAddress:
        """The RLOC of a LISP router."""
        found: IPAddress = rloc(self.lab, node)
        return found

    def registered(self, eid: Any = None) -> str | None:
        """The RLOC of the xTR that the Map-Server knows for a host."""
        row = registrations(self.lab, "ms").get(str(ip_network(eid or self.eid)))
        return str(row["etr"]) if row and row["etr"] else None

    def having(self, eid: Any = None) -> list[str]:
        """The xTRs that have found a host."""
        wanted = str(ip_network(eid or self.eid))
        return [one for one in XTRS.values() if wanted in {row["eid"] for row in self.lab.show(one, "dynamic-eids")}]

    def goes_to(self, node: str, eid: Any = None) -> list[str]:
        """The RLOCs that a router sends to for a host, by its own mapping of it."""
        row = map_cache(self.lab, node).get(str(ip_network(eid or self.eid)))
        return [one["rloc"] for one in row["locators"]] if row else []

    def move(self, site: str, *, silent: bool = False) -> Moved:
        """The host goes to a data centre."""
        return self.lab.move(MOBILE, site, silent=silent)

    def settle(self, site: str, *talking: str) -> None:
        """The host is in a data centre, the mapping system and these correspondents know; both outside if none.

        The other hosts are where the topology has them, wherever an earlier test left them.
        """
        places = self.lab.places()
        found = {site: {row["eid"] for row in self.lab.show(one, "dynamic-eids")} for site, one in XTRS.items()}
        for host in self.lab.topology.hosts:
            if host.name == MOBILE or host.site not in XTRS:
                continue
            if places[host.name] != host.site:
                self.lab.move(host.name, host.site)
            if str(ip_network(host.address_of(self.version))) not in found[host.site]:
                self.say(host.name)  # an xTR that started anew does not know it yet
        if self.place != site:
            self.move(site)
        self.say()
        for one in talking or REMOTE:
            first_reply(self.lab, one, MOBILE, within=20, version=self.version)
        self.settled()

    def say(self, host: str = MOBILE) -> None:
        """A host sends something to the branch, until it is answered."""
        first_reply(self.lab, host, "b1", within=20, version=self.version)

    def settled(self, within: float = 15.0) -> None:
        """Wait until everybody has it right: the Map-Server, the xTRs, those who send from outside."""
        router = XTRS[self.place]
        place = str(self.rloc(router))
        eventually(lambda: self.registered() == place, f"{self.eid} is registered from {place}", within)
        eventually(lambda: self.having() == [router], f"{router} alone has {self.eid}", within)
        for node in REMOTE.values():
            eventually(lambda node=node: self.goes_to(node) in ([], [place]), f"{node} sends to {place}", within)

    @contextmanager
    def session(self, *correspondents: str, host: str = MOBILE) -> Iterator[Session]:
        """Meanwhile a host and these exchange datagrams and a TCP stream each; the session lives, byte for byte."""
        probes = Probes(
            self.lab, host, correspondents or tuple(REMOTE), versions=(self.version,), interval_ns=INTERVAL_NS
        )
        with probes:
            session = Session(probes)
            yield session
            session.end()

    def about(self, seen: Watch, kind: int, node: str, eid: Any = None) -> list[Captured]:
        """The control messages of one type that arrived at a node and have a record of the host."""
        prefix = ip_network(eid or self.eid)
        return [one for one in seen.control(kind, node) if prefix in [record.prefix for record in one.message.records]]


class Session:
    """What is exchanged while a host moves."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._seen: Seen | None = None

    def stop(self) -> Seen:
        """End it, and return what was seen."""
        if self._seen is None:
            self._seen = self._probes.stop()
        return self._seen

    def end(self) -> Seen:
        """End it: every TCP connection lives, what arrived is what was sent, and all of it did."""
        if self._seen is None:
            seen = self.stop()
            lives(seen)
            is_right(seen)
        return self.stop()


def lives(seen: Seen) -> None:
    """Every TCP connection carries what it is given, to the end."""
    for one in seen.streams:
        way = f"{one.direction} {one.correspondent}"
        assert not one.lost, f"TCP {way}: {one.lost}"
        assert one.received == one.sent > 0, f"TCP {way}: {one.received} of {one.sent} bytes arrived"


def is_right(seen: Seen) -> None:
    """Every byte that arrived is the one that was sent."""
    for one in seen.streams:
        assert one.wrong == 0, f"TCP {one.direction} {one.correspondent}: {one.wrong} of {one.received} bytes are wrong"
