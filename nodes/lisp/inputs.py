"""What goes into an engine, plain values; what comes out of it is in ``effects``."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.lisp.config import Locator
from nodes.lisp.effects import CONTROL_PORT
from nodes.lisp.eid import EidPrefix, IPAddress


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram that arrived on a control port.

    Attributes:
        payload: The LISP control message.
        source: The sender's RLOC and ``source_port`` its port.
        destination: The own RLOC, or the site's group, that it was sent to; ``destination_port`` is the own port.
        interface: For what came to the group, the site interface that it came in by.
    """

    payload: bytes
    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int = CONTROL_PORT
    interface: str = ""


@dataclass(frozen=True, slots=True)
class Miss:
    """The data path holds packets for an EID whose map-cache entry says send-map-request (requirement S04).

    Attributes:
        eid: The host prefix of the destination.
        source: The inner source address, sent as Source-EID.
    """

    eid: EidPrefix
    source: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """Somebody asks for a mapping by hand (``lig``, requirement M22).

    Attributes:
        eid: The EID asked for.
        token: Returned in the :class:`Answer`.
    """

    eid: EidPrefix
    token: int


@dataclass(frozen=True, slots=True)
class HostSeen:
    """A host showed itself on a site interface: by ARP, neighbour discovery or a packet (requirement X01).

    The ETR decides whether it is a dynamic-EID: only hosts inside a permitted prefix are (requirement X02). A host that
    is seen again costs nothing.

    Attributes:
        eid: The host prefix of the source.
        interface: The site interface it was seen on.
    """

    eid: EidPrefix
    interface: str


@dataclass(frozen=True, slots=True)
class HostsSeen:
    """Hosts showed themselves together, or one did with all its addresses: what is new is told in one message."""

    hosts: tuple[HostSeen, ...]


@dataclass(frozen=True, slots=True)
class HostGone:
    """A host that was seen is not there any more: it does not answer, or its link is gone.

    Attributes:
        eid: The host prefix.
        interface: The site interface it was last seen on; news of another interface is stale and changes nothing.
    """

    eid: EidPrefix
    interface: str


@dataclass(frozen=True, slots=True)
class StrayData:
    """Data came out of a LISP header for a host of a dynamic prefix that is not here (requirement X06).

    Attributes:
        eid: The host prefix of its destination.
        rloc: The outer source: who goes by an old mapping, or forges.
    """

    eid: EidPrefix
    rloc: IPAddress


@dataclass(frozen=True, slots=True)
class CoreLinks:
    """Whether any link to the core is up: without one, a peer is the better gateway (requirement X09).

    Attributes:
        up: Whether one is.
    """

    up: bool


@dataclass(frozen=True, slots=True)
class ChangeLocator:
    """The site changes what others are told of one of its RLOCs (requirement S11). Answered by an :class:`Answer`.

    The change lasts as long as the process: a restarted node goes by its configuration again.

    Attributes:
        prefix: An EID-prefix of the site's database, or a permitted prefix of dynamic-EIDs: then it is for all hosts
            found in it.
        rloc: One of the prefix's RLOCs.
        priority: The new priority, 0 to 255, or None to leave it.
        weight: The new weight, 0 to 255, or None to leave it.
        peers: RLOCs that data went to or came from within the last minute: they are told to ask again (RFC 9301
            section 6.1).
        token: Returned in the :class:`Answer`.
    """

    prefix: EidPrefix
    rloc: IPAddress
    priority: int | None
    weight: int | None
    peers: tuple[IPAddress, ...]
    token: int


@dataclass(frozen=True, slots=True)
class RlocsChanged:
    """The node has other RLOCs: a mobile node is in another network (draft-ietf-lisp-mn, requirement S15).

    Attributes:
        rlocs: Those that it has now; none while it is in no network, which changes nothing until it is in one again.
    """

    rlocs: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class ChangeKey:
    """The ETR signs its registrations with another of its keys from now on. Answered by an :class:`Answer`.

    The change lasts as long as the process: a restarted node goes by its configuration again.

    Attributes:
        key_id: The Key ID of one of the keys that it shares with its Map-Servers.
        token: Returned in the :class:`Answer`.
    """

    key_id: int
    token: int


@dataclass(frozen=True, slots=True)
class AddMappings:
    """Somebody puts mappings into the map-cache by hand. They never end, and no Map-Reply changes them.

    What does not fit any more is left out: there is no :class:`Install` for it.

    Attributes:
        mappings: EID-prefixes with their locator-sets.
    """

    mappings: tuple[tuple[EidPrefix, tuple[Locator, ...]], ...]


@dataclass(frozen=True, slots=True)
class RemoveMappings:
    """Somebody takes mappings out of the map-cache that he put in by hand; others are left alone.

    Attributes:
        prefixes: Their EID-prefixes.
    """

    prefixes: tuple[EidPrefix, ...]


@dataclass(frozen=True, slots=True)
class Unreachable:
    """An ICMP error says that a LISP packet of this node did not get to an RLOC (RFC 9301 section 7, items 1 and 3).

    Anybody can forge one. The engine believes it for as long as a probe takes, and not often (requirement C35).

    Attributes:
        rloc: The outer destination of the packet that is quoted.
    """

    rloc: IPAddress


@dataclass(frozen=True, slots=True)
class StatusBits:
    """Packets from another site bring other Locator-Status-Bits than before (RFC 9300 section 10, requirement D09).

    Attributes:
        eid: The host prefix of their inner source.
        rloc: Their outer source.
        bits: Bit n is 1 if the n-th locator of the source's mapping is up, or if nothing is said of it.
    """

    eid: EidPrefix
    rloc: IPAddress
    bits: int


@dataclass(frozen=True, slots=True)
class TooBig:
    """An ICMP error says that a LISP packet of this node was too big for the path to an RLOC (RFC 9300 section 7.2).

    Attributes:
        rloc: The outer destination of the packet that is quoted.
        mtu: The largest outer packet in bytes that would have passed.
    """

    rloc: IPAddress
    mtu: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: the deadline that the engine asked for is here."""


Input = (
    Datagram
    | Miss
    | Query
    | HostSeen
    | HostsSeen
    | HostGone
    | StrayData
    | CoreLinks
    | ChangeLocator
    | RlocsChanged
    | ChangeKey
    | AddMappings
    | RemoveMappings
    | Unreachable
    | StatusBits
    | TooBig
    | Tick
)
