"""A host that roams among three data centres while four correspondents send to it, over a network that may be bad.

The data path is a model: a packet goes from router to router by what their engines have installed, and whoever it
reaches in vain is told so, as the data planes do it (requirement X06).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import IPAddress
from nodes.lisp.inputs import HostSeen, Miss, StrayData
from tests.engine.stretched import HOST, PORT, SUBNET, XTR3, appears, dynamic, registered
from tests.engine.world import DC1, PXTR, XTR1, XTR2, World, ip_address, map_resolver, map_server, pxtr, site, xtr

XTR4 = ip_address("10.0.7.1")
PLACES = {"xtr1": XTR1, "xtr2": XTR2, "xtr4": XTR4}
"""The xTRs of the data centres, in each of which the host can be."""
BRANCH, PROXY = "xtr3", "pxtr"
RLOCS = PLACES | {BRANCH: XTR3, PROXY: PXTR}
MOST_HOPS = 8
"""What the TTL of a packet that is sent on from xTR to xTR allows."""
STEADY = 10.0
"""Seconds for which everything has to be right: a contest of two xTRs is over by then."""


def world_of_three() -> World:
    """The subnet in three data centres, a branch and a PITR."""
    world = World().add(
        map_server(site("dc", SUBNET, more=True), site("branch", DC1)),
        map_resolver(SUBNET, DC1),
        *(dynamic(name, rloc) for name, rloc in PLACES.items()),
        xtr(BRANCH, XTR3, DC1),
        pxtr(),
    )
    world.run()
    return world


class Roaming:
    """The world, and where the host is.

    Attributes:
        world: The engines.
        chance: The source of everything random.
        place: The xTR where the host is now.
    """

    def __init__(self, seed: int, world: World | None = None) -> None:
        """The host is in the first data centre, and everybody sends to it."""
        self.world = world or world_of_three()
        self.chance = random.Random(seed)
        self.place = "xtr1"
        self._told: dict[tuple[str, IPAddress], float] = {}
        appears(self.world, self.place)
        self.traffic(3)

    # The network

    def impair(self, lost: float, doubled: float, late: float) -> None:
        """From now on control messages are lost, doubled and late, so that they overtake each other.

        Args:
            lost: The share that is lost.
            doubled: The share of the others that comes twice.
            late: How many seconds one may take.
        """
        self.world.lost = lambda _packet: self.chance.random() < lost
        self.world.delays = lambda _packet: [
            self.chance.uniform(0, late) for _ in range(1 + (self.chance.random() < doubled))
        ]

    def heal(self) -> None:
        """The network is good again; what is under way still comes."""
        self.world.lost = lambda _packet: False
        self.world.delays = lambda _packet: [self.world.delay]

    # The host and those who talk to it

    def move(self, place: str) -> None:
        """The host is somewhere else, and says something there."""
        self.place = place
        appears(self.world, place)

    def traffic(self, seconds: float, every: float = 1.0) -> None:
        """Let time pass in which everybody sends to the host, and the host to everybody."""
        until = self.world.now + seconds
        while self.world.now < until:
            self.world.put(self.place, HostSeen(HOST, PORT))
            for sender in RLOCS:
                self.send(sender)
            self.world.run(min(every, until - self.world.now))

    def send(self, sender: str) -> list[str]:
        """One packet for the host: the routers that it passes, the last one delivers it; [] if it does not arrive."""
        way = list(self._way(sender))
        return way if way[-1] == self.place and HOST in self.world[self.place].hosts else []

    def _way(self, sender: str) -> Iterator[str]:
        at, source = sender, None
        for _ in range(MOST_HOPS):
            yield at
            node = self.world[at]
            if source is not None:
                node.contacts.add(source)
            if HOST in node.hosts:
                return
            if source is not None and at in PLACES:
                self._stray(at, source)
            entry = node.forwarding(HOST)
            if entry.forwarding is Forwarding.SEND_MAP_REQUEST:
                self.world.put(at, Miss(HOST))
            if entry.forwarding is not Forwarding.ENCAPSULATE:
                return
            node.contacts.add(entry.locators[0].address)
            at, source = next(name for name, rloc in RLOCS.items() if rloc == entry.locators[0].address), RLOCS[at]

    def _stray(self, at: str, source: IPAddress) -> None:
        """Once a second for each sender."""
        if self.world.now - self._told.get((at, source), -1.0) >= 1.0:
            self._told[at, source] = self.world.now
            self.world.put(at, StrayData(HOST, source))

    # What is so

    def wrong(self) -> list[str]:
        """What is not as it should be, in words; nothing when everything is."""
        found = []
        if registered(self.world) != str(PLACES[self.place]):
            found.append(f"{registered(self.world)} is registered")
        if (having := [name for name in PLACES if HOST in self.world[name].hosts]) != [self.place]:
            found.append(f"{having} have it")
        for sender in RLOCS:
            if (way := self.send(sender)) != list(dict.fromkeys((sender, self.place))):
                found.append(f"from {sender}: {way}")
        return found

    def settles(self, within: float) -> None:
        """Let traffic flow until everything is right, and has been for ten seconds.

        Raises:
            AssertionError: Something is wrong after so many seconds.
        """
        began = right_since = self.world.now
        while self.world.now < right_since + STEADY:
            if wrong := self.wrong():
                right_since = self.world.now
                assert right_since - began < within, f"after {within:g} s, with the host at {self.place}: {wrong}"
            self.traffic(1.0)
