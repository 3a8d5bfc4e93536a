"""What comes out of an engine, plain values: the daemon carries them out, in order. ``inputs`` has what goes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nodes.lisp.config import Locator
from nodes.lisp.eid import EidPrefix, IPAddress

CONTROL_PORT = 4342
DATA_PORT = 4341


@dataclass(frozen=True, slots=True)
class Send:
    """Send a control message.

    Attributes:
        payload: The LISP control message.
        destination: The RLOC it goes to and ``port`` its UDP port.
        from_control_port: Send from port 4342; otherwise from the node's ephemeral request port.
        can_wait: Whether nobody waits for it: it may go some milliseconds later.
    """

    payload: bytes
    destination: IPAddress
    port: int = CONTROL_PORT
    from_control_port: bool = False
    can_wait: bool = False


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
