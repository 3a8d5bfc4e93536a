"""What goes into an engine and what comes out of it: plain values. The daemon carries the effects out, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nodes.lisp.config import Locator
from nodes.lisp.eid import EidPrefix, IPAddress

CONTROL_PORT = 4342
DATA_PORT = 4341


# Inputs


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


# Effects


@dataclass(frozen=True, slots=True)
class Send:
    """Send a control message.

    Attributes:
        payload: The LISP control message.
        destination: The RLOC it goes to and ``port`` its UDP port.
        from_control_port: Send from port 4342; otherwise from the node's ephemeral request port.
    """

    payload: bytes
    destination: IPAddress
    port: int = CONTROL_PORT
    from_control_port: bool = False


@dataclass(frozen=True, slots=True)
class SendToGroup:
    """Send a control message to the site's other xTRs, by their multicast group (requirement X09).

    Attributes:
        payload: The LISP control message.
        interface: The site interface that it leaves by; "" for all of them.
    """

    payload: bytes
    interface: str = ""


@dataclass(frozen=True, slots=True)
class BeGateway:
    """Be the gateway of the site's hosts, or leave that to a peer (requirement X09).

    Attributes:
        active: Whether this node is it: has the gateway's addresses and MAC address, and answers for far hosts.
    """

    active: bool


class Forwarding(StrEnum):
    """What the data path does with a packet that matches a map-cache entry (requirement S04)."""

    ENCAPSULATE = "encapsulate"
    NATIVE = "natively-forward"
    SEND_MAP_REQUEST = "send-map-request"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class ForwardingEntry:
    """One map-cache entry as the data path sees it.

    Attributes:
        prefix: The EID-prefix.
        forwarding: What to do with a matching packet.
        locators: The usable locators when encapsulating: R-bit set, priority below 255; sorted by address.
        reason: For drops: "no-action", "no-reason", "policy-denied" or "auth-failure" (RFC 9301 section 5.4), or
            "no-usable-locator": there is a locator-set, and this node can use none of it.
    """

    prefix: EidPrefix
    forwarding: Forwarding
    locators: tuple[Locator, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Install:
    """Write an entry into the data path, replacing one of the same prefix."""

    entry: ForwardingEntry


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the entry of this prefix out of the data path."""

    prefix: EidPrefix


@dataclass(frozen=True, slots=True)
class Unresolved:
    """No reply came for this EID: the data path drops what it holds for it."""

    eid: EidPrefix


@dataclass(frozen=True, slots=True)
class LocatorState:
    """An RLOC is not to be used for packets any more, in whichever mapping it is; or it is again (RFC 9301 section 7).

    Said once for each change; every RLOC is up until something else is said.

    Attributes:
        rloc: The RLOC.
        up: Whether it can be used.
    """

    rloc: IPAddress
    up: bool


@dataclass(frozen=True, slots=True)
class PathMtu:
    """The largest outer packet that gets to an RLOC (RFC 9300 section 7.2, requirement D19).

    Attributes:
        rloc: The RLOC.
        mtu: Its path's MTU in bytes, outer headers included; 0 forgets what was learned: the core's MTU is good again.
    """

    rloc: IPAddress
    mtu: int


@dataclass(frozen=True, slots=True)
class AddHost:
    """A dynamic-EID is here: it is local to the data path from now on, reached by a host route (requirement X08).

    Attributes:
        eid: The host prefix.
        interface: The site interface that the host route leads to.
    """

    eid: EidPrefix
    interface: str


@dataclass(frozen=True, slots=True)
class RemoveHost:
    """A dynamic-EID is no longer here: its host route goes, and it is not local any more.

    Attributes:
        eid: The host prefix.
        interface: The site interface that the host route led to.
    """

    eid: EidPrefix
    interface: str


@dataclass(frozen=True, slots=True)
class HostAway:
    """A host of the site's own EID-prefix is at another site (requirement X10).

    It is not local to the data path any more: what its site and the core still send it is encapsulated, the site's
    network asks for it in vain, and its first frame here is told (:class:`HostSeen`).

    Attributes:
        eid: The host prefix.
    """

    eid: EidPrefix


@dataclass(frozen=True, slots=True)
class HostHome:
    """A host that was away is one of its subnet's again (requirement X10).

    Attributes:
        eid: The host prefix.
    """

    eid: EidPrefix


@dataclass(frozen=True, slots=True)
class HostLeft:
    """Another xTR has registered a host: its neighbours here are to send to this router from now on.

    Attributes:
        eid: The host prefix.
    """

    eid: EidPrefix


@dataclass(frozen=True, slots=True)
class FindHost:
    """Ask for a host on the site's network: if it is there, it is seen (:class:`HostSeen`).

    Attributes:
        eid: The host prefix.
        interface: The site interface that it was last seen on; "" for the one whose subnet it is of.
    """

    eid: EidPrefix
    interface: str


@dataclass(frozen=True, slots=True)
class Persist:
    """Keep this before the effects that follow are carried out; ``value`` None forgets the key (requirement C38).

    Attributes:
        key: The name it is kept under.
        value: A JSON value.
        required: Nothing may be sent, of the effects that follow in this step, unless this is kept.
    """

    key: str
    value: Any
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a :class:`Query`, :class:`ChangeLocator` or :class:`ChangeKey`, or a failure in words.

    Attributes:
        token: The token of what is answered.
        result: What `lig` shows: records, the replier's RLOC, round-trip time in milliseconds; or what `locator` shows:
            the EID-prefix, its locator-set now, the peers that are told; None on failure.
        error: What went wrong, or "".
    """

    token: int
    result: Mapping[str, Any] | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Something worth a line in the log. Never holds a key.

    Attributes:
        event: A short name ("map-cache-installed").
        fields: Details, JSON values only.
    """

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


Effect = (
    Send
    | SendToGroup
    | BeGateway
    | Install
    | Remove
    | Unresolved
    | LocatorState
    | PathMtu
    | AddHost
    | RemoveHost
    | HostAway
    | HostHome
    | HostLeft
    | FindHost
    | Persist
    | Answer
    | Report
)
