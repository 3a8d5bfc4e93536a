"""Two hundred hosts, of either IP version, move at once: all are found at the new place, and go on talking."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from itertools import chain

import pytest

from nodes.kinds.announcement import announcement
from testbed.lab import Lab
from tests.conformance.tester.daemons import map_cache, registrations
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.places import rloc
from tests.conformance.tester.waiting import eventually

MACHINES = [f"m{number}" for number in range(10)]
EACH = 10
"""Addresses of each machine, of each IP version."""
CORRESPONDENTS = ("b1", "near")
"""Who talks to all of them: one outside, and a neighbour that stays."""
WITHIN = 30.0
"""Seconds in which everything is right, beside other tests; how soon it is, ``bench mobility`` measures."""
PAUSE = 0.1
"""Seconds between two looks at tables of hundreds of rows."""
PORT = 7007
XTRS = {"dc1": "xtr1", "dc2": "xtr2"}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Crowd:
    """The hosts, and what they and their correspondents say to each other by sockets that last."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        """Give the machines their addresses."""
        self.lab = lab
        self.hosts = {machine: list(_addresses(lab, machine, number)) for number, machine in enumerate(MACHINES)}
        for machine, addresses in self.hosts.items():
            device = lab[machine].interfaces[0].name
            added = "\n".join(f"address add {one}/{one.max_prefixlen} dev {device}" for one in addresses)
            assert lab.run(machine, ["sh", "-c", f"echo '{added}' | ip -batch -"]).returncode == 0

        def opened(node: str, address: IPAddress) -> socket.socket:
            made = stack.enter_context(lab.socket(node, _FAMILIES[address.version], socket.SOCK_DGRAM))
            made.bind((str(address), PORT))
            made.setblocking(False)
            return made

        self._sockets = {one: opened(machine, one) for machine, mine in self.hosts.items() for one in mine}
        self._correspondents = {
            (name, version): opened(name, lab[name].address_of(version))
            for name in CORRESPONDENTS
            for version in _FAMILIES
        }

    def announce(self) -> None:
        """All say where they are."""
        for machine, addresses in self.hosts.items():
            port = self.lab[machine].interfaces[0]
            with self.lab.socket(machine, socket.AF_PACKET, socket.SOCK_RAW, 0) as cable:
                cable.bind((port.name, 0))
                for address in addresses:
                    frame = announcement(address, bytes.fromhex(port.mac.replace(":", "")))
                    eventually(lambda cable=cable, frame=frame: _is_taken(cable, frame), f"{machine} says {address}")

    def ask(self, word: bytes, whom: Iterable[tuple[str, IPAddress]]) -> set[tuple[str, IPAddress]]:
        """Correspondents say a word to hosts; who has been answered by whom, to this time or one before."""
        for name, address in whom:
            self._correspondents[name, address.version].sendto(word, (str(address), PORT))
        for host in self._sockets.values():
            for heard, sender in _waiting(host):
                host.sendto(heard, sender)
        return {
            (name, ip_address(sender[0]))
            for (name, _), correspondent in self._correspondents.items()
            for heard, sender in _waiting(correspondent)
            if heard == word
        }

    def all_answer(self, word: bytes) -> Callable[[], bool]:
        """What to call until both correspondents have been answered by all hosts."""
        missing = {(name, address) for name in CORRESPONDENTS for address in self._sockets}

        def asked() -> bool:
            missing.difference_update(self.ask(word, missing))
            return not missing

        return asked

    def are_at(self, router: str) -> bool:
        """The Map-Server has all of them there, and that xTR alone of the two data centres."""
        known, place = registrations(self.lab, "ms"), str(rloc(self.lab, router))
        here = {one: {row["eid"] for row in self.lab.show(one, "dynamic-eids")} for one in XTRS.values()}
        other = next(one for one in here if one != router)
        return all(
            known.get(eid, {}).get("etr") == place and eid in here[router] and eid not in here[other]
            for eid in self._prefixes()
        )

    def are_sent_to(self, router: str, by: str) -> bool:
        """An ITR sends to that xTR for all of them, by mappings of their own; who sent to them goes on."""
        self.ask(b"on", [(CORRESPONDENTS[0], address) for address in self._sockets])
        cached, config = map_cache(self.lab, by), self.lab[router].lisp
        assert config is not None
        rlocs = {str(one) for one in config.rlocs}
        return all(
            {one["rloc"] for one in cached.get(eid, {}).get("locators", ())} == rlocs for eid in self._prefixes()
        )

    def _prefixes(self) -> list[str]:
        return [f"{one}/{one.max_prefixlen}" for one in chain(*self.hosts.values())]


@pytest.mark.requirement("X03", "X14")
@pytest.mark.parametrize(
    ("dataplane", "without"),
    [("ebpf", ""), ("python", "pubsub: true")],
    indirect=["dataplane"],
    ids=["ebpf-pubsub", "python-smr"],
)
def test_two_hundred_hosts_move_at_once(boot: Callable[..., Lab], dataplane: str, without: str) -> None:
    """Who talked to them before finds all of them again, in both directions and by the same sockets."""
    lab = boot("many", dataplane, without=without)
    with ExitStack() as stack:
        crowd = Crowd(lab, stack)

        def settled(site: str, *others: str) -> None:
            """All are at the site's xTR, and these send there."""
            router, word = XTRS[site], site.encode()
            eventually(lambda: crowd.are_at(router), f"all of them are at {router}", WITHIN, PAUSE)
            eventually(crowd.all_answer(word), f"all of them answer in {site}", WITHIN, PAUSE)
            for one in others:
                eventually(lambda one=one: crowd.are_sent_to(router, one), f"{one} sends to {router}", WITHIN, PAUSE)

        crowd.announce()
        settled("dc1", "xtr3")
        lab.move_all(MACHINES, "dc2")
        crowd.announce()
        settled("dc2", "xtr3", "xtr1")


def _addresses(lab: Lab, machine: str, number: int) -> Iterator[IPAddress]:
    for one in lab[machine].interfaces[0].addresses:
        yield from (one.network[0x80 + EACH * number + n] for n in range(EACH))


def _is_taken(cable: socket.socket, frame: bytes) -> bool:
    """Whether the kernel takes a frame: its queue can be full for a moment."""
    try:
        return cable.send(frame) > 0
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return False


def _waiting(opened: socket.socket) -> Iterator[tuple[bytes, tuple[str, int]]]:
    """What has arrived."""
    try:
        while True:
            heard, sender = opened.recvfrom(64)
            yield heard, sender[:2]
    except BlockingIOError:
        return
