"""Who the tester plays: ITR, ETR, Map-Server, Map-Resolver, or somebody who means harm; from any node of a lab.

A player stands at a node next to the router that is judged, the first core router on its way if nothing is said, and
speaks to one of its RLOCs from an address of that node. What it is answered, its :class:`.watch.Watch` sees: a capture
at that node, which may be the capture of several players. Over IPv6 it does the same with ``version=6``.

::

    with Watch(lab, [uplink(lab, "xtr1")]) as watch:
        itr = Itr(lab, "xtr1", watch)
        itr.ask(eid, nonce=7)
        assert itr.reply(7).message.records
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from typing import Any

from testbed.lab import Lab
from tests.conformance.tester import packets, wire
from tests.conformance.tester.places import facing, uplink
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen, Watch, inner_request

PORT = 40404
"""The ephemeral port that players speak from."""

REPLY_INTERVAL_S = 3.0
"""How long a router may take before it answers the same question again (RFC 9301 section 5.4)."""

_nonces = count(0x1234567800000001)


def fresh_nonce() -> int:
    """A nonce that no player has used."""
    return next(_nonces)


@dataclass(frozen=True)
class Player:
    """Somebody at a node who speaks to one router.

    Attributes:
        lab: Where.
        router: The LISP router that is judged.
        watch: What the player sees.
        version: The IP version of both addresses.
        at: The node that it stands at; "" for the core router next to the router.
    """

    lab: Lab
    router: str
    watch: Watch
    version: int = 4
    at: str = ""

    @property
    def node(self) -> str:
        """Where it stands."""
        return self.at or uplink(self.lab, self.router)

    @property
    def address(self) -> packets.IPAddress:
        """Its own address: that of the interface towards the router, or elsewhere the node's first."""
        if self.at and self.at != uplink(self.lab, self.router):
            return self.lab[self.at].address_of(self.version)
        return facing(self.lab, self.node, self.router, self.version)

    @property
    def target(self) -> packets.IPAddress:
        """The RLOC that it speaks to."""
        config = self.lab[self.router].lisp
        assert config is not None
        return next(one for one in config.rlocs if one.version == self.version)

    def send(
        self,
        message: bytes,
        ports: tuple[int, int] = (PORT, wire.CONTROL),
        *,
        source: Any = None,
        checksum: int | None = None,
    ) -> None:
        """Send a control message; the checksum is the right one, and the source its own, unless others are given."""
        packet = packets.datagram(source or self.address, self.target, ports, message, checksum=checksum)
        inject(self.lab, self.node, packet)

    def tunnel(self, inner: bytes, *, source: Any = None, **fields: Any) -> None:
        """Send a LISP data packet; the keywords are those of :func:`.packets.lisp`."""
        inject(self.lab, self.node, packets.lisp(source or self.address, self.target, inner, **fields))

    def heard(self, kind: int) -> list[Seen]:
        """The control messages of a type that the router has sent, as far as they passed this node."""
        return [one for one in self.watch.control(kind, self.node) if one.outer.source == self.target]


class Itr(Player):
    """Asks for mappings: an ETR straight, or the mapping system."""

    def request(self, *eids: Any, nonce: int, rlocs: tuple[Any, ...] = (), flags: int = 0, source: Any = None) -> bytes:
        """A Map-Request that wants its reply at this node."""
        return wire.map_request(nonce, eids, rlocs or (self.address,), flags=flags, source_eid=source)

    def encapsulated(self, eid: Any, request: bytes) -> bytes:
        """The Map-Request on its way through the mapping system."""
        asker = self.address
        if ip_address(str(eid)).version != asker.version:  # the inner header is of the EID's IP version
            asker = ip_address("::" if asker.version == 4 else "0.0.0.0")
        return wire.ecm(asker, PORT, eid, request)

    def ask(self, eid: Any, *, nonce: int | None = None, flags: int = 0) -> int:
        """Ask the router itself, as an ETR is asked; the nonce."""
        nonce = fresh_nonce() if nonce is None else nonce
        self.send(self.request(eid, nonce=nonce, flags=flags))
        return nonce

    def look_up(self, eid: Any, *, nonce: int | None = None) -> int:
        """Ask the router as a Map-Resolver, or a Map-Server, is asked; the nonce."""
        nonce = fresh_nonce() if nonce is None else nonce
        self.send(self.encapsulated(eid, self.request(eid, nonce=nonce)))
        return nonce

    def reply(self, nonce: int) -> Seen:
        """The Map-Reply with this nonce, whoever it comes from, when it comes."""
        wanted = f"a Map-Reply with nonce {nonce:#x}"
        return self.watch.until(lambda: [one for one in self.replies() if one.message.nonce == nonce], wanted)[0]

    def resolve(self, eid: Any) -> Seen:
        """Ask the router as a Map-Resolver until it answers: Map-Replies are limited in rate (RFC 9301 section 5.4)."""
        pause = REPLY_INTERVAL_S / self.lab.topology.time_scale
        nonces: list[int] = []
        asked_at = -pause

        def replied() -> list[Seen]:
            nonlocal asked_at
            if time.monotonic() - asked_at > pause:
                nonces.append(self.look_up(eid))
                asked_at = time.monotonic()
            self.watch.drain()
            return [one for one in self.replies() if one.message.nonce in nonces]

        return eventually(replied, f"a Map-Reply about {eid}", within=5 + 2 * pause)[0]

    def replies(self) -> list[Seen]:
        """Every Map-Reply so far."""
        return self.watch.control(wire.MAP_REPLY, self.node)


@dataclass(frozen=True)
class Etr(Player):
    """Registers EID-prefixes, and solicits Map-Requests.

    Attributes:
        secret: The secret that it shares with the Map-Server.
        key_id: Its Key ID.
        identity: xTR-ID and Site-ID.
    """

    secret: str = ""
    key_id: int = 1
    identity: tuple[bytes, int] | None = (b"the tester's xTR", 1)

    def register(self, *records: bytes, nonce: int | None = None, flags: int = 0) -> int:
        """Send one Map-Register that wants a Map-Notify; the nonce."""
        nonce = fresh_nonce() if nonce is None else nonce
        message = wire.map_register(
            nonce, records, self.secret, key_id=self.key_id, flags=flags | wire.WANT_NOTIFY, identity=self.identity
        )
        self.send(message)
        return nonce

    def registered(self, *records: bytes, flags: int = 0) -> Seen:
        """Send one, and return the Map-Notify when it has come."""
        nonce = self.register(*records, flags=flags)
        found = self.watch.until(
            lambda: [one for one in self.heard(wire.MAP_NOTIFY) if one.message.nonce == nonce], "a Map-Notify"
        )
        return found[0]

    def solicit(self, eid: Any, source_eid: Any) -> None:
        """Send a Solicit-Map-Request about ``source_eid`` (RFC 9301 section 6.1)."""
        flags = wire.SMR | wire.DONT_REPLY
        self.send(wire.map_request(fresh_nonce(), [eid], [self.address], flags=flags, source_eid=source_eid))


@dataclass(frozen=True)
class MapResolver(Player):
    """Stands in for the mapping system: takes the Map-Requests of an ITR off the core, and answers as it likes.

    Attributes:
        resolver: The RLOC of the Map-Resolver that it stands in for, which is to be silent meanwhile.
    """

    resolver: Any = None

    def questions(self, eid: Any = None) -> list[Seen]:
        """The ITR's Encapsulated Map-Requests so far, those whose EID-prefix covers ``eid`` if there is one."""
        asked = self.heard(wire.ECM)
        return [one for one in asked if eid is None or eid in inner_request(one).records[0].prefix]

    def question(self, eid: Any) -> Seen:
        """The Map-Request for an EID, when it is seen."""
        return self.watch.until(lambda: self.questions(eid), f"a Map-Request for {eid}")[0]

    def answer(self, question: Seen, *records: bytes, nonce: int | None = None, flags: int = 0) -> None:
        """Answer it, from the Map-Resolver's address."""
        value = inner_request(question).nonce if nonce is None else nonce
        ports = (wire.CONTROL, question.outer.source_port)
        self.send(wire.map_reply(value, *records, flags=flags), ports, source=self.resolver)


@dataclass(frozen=True)
class MapServer(Player):
    """Stands in for a Map-Server: takes the Map-Registers of an ETR off the core, and answers as it likes.

    Attributes:
        server: The RLOC of the Map-Server that it stands in for, which is to be silent meanwhile.
        secret: What the ETR's site shares with it.
        key_id: The Key ID of that.
        algorithm: The Algorithm ID that the site is to sign with.
    """

    server: Any = None
    secret: str = ""
    key_id: int = 1
    algorithm: int = 3

    @classmethod
    def instead_of(cls, lab: Lab, server: str, etr: str, watch: Watch) -> MapServer:
        """One that has the address of a Map-Server, and the first key of an ETR's site."""
        mine, theirs = lab[server].lisp, lab[etr].lisp
        assert mine is not None
        assert theirs is not None
        address, key = mine.rlocs[0], theirs.map_servers[0].key
        return cls(lab, etr, watch, address.version, "", address, key.secret, key.key_id, key.algorithm)

    def registers(self) -> list[Seen]:
        """The ETR's Map-Registers so far."""
        return [one for one in self.heard(wire.MAP_REGISTER) if one.outer.destination == self.server]

    def register(self, number: int = 1, within: float = 15.0) -> Seen:
        """The last of so many Map-Registers, when that is seen."""
        return self.watch.until(lambda: self.registers()[number - 1 : number], f"Map-Register {number}", within)[0]

    def believes(self, register: Seen) -> bool:
        """Whether it is signed with the site's key, by the Algorithm ID that the site is to use."""
        one = register.message
        right = wire.mac(one.blank, one.nonce, self.secret, wire.MAP_REGISTER, self.algorithm)
        return (one.key_id, one.algorithm, one.authentication) == (self.key_id, self.algorithm, right)

    def notify(self, register: Seen, *, nonce: int | None = None, secret: str = "", key_id: int = 0) -> None:
        """Acknowledge a Map-Register; with another nonce, secret or Key ID than its own, wrongly."""
        one = register.message
        signed = wire.map_notify(
            one.nonce if nonce is None else nonce,
            len(one.records),
            one.octets,
            secret or self.secret,
            key_id=key_id or self.key_id,
            algorithm=self.algorithm,
        )
        self.send(signed, (wire.CONTROL, wire.CONTROL), source=self.server)

    def forward(self, eid: Any, request: bytes, asker: Any, port: int = PORT) -> None:
        """Hand the ETR a Map-Request for ``eid`` that came from ``asker`` and its port (RFC 9301 section 8.3)."""
        self.send(wire.ecm(asker, port, eid, request), source=self.server)


class Attacker(Player):
    """Sends what nobody should believe, and sees that it is not."""

    def flood(self, *messages: bytes, ports: tuple[int, int] = (PORT, wire.CONTROL), source: Any = None) -> None:
        """Send many control messages at once, in the name of ``source``."""
        own = source or self.address
        inject(self.lab, self.node, *(packets.datagram(own, self.target, ports, one) for one in messages))
