"""What an xTR is told of its site: EID-prefixes with their locator-sets, where hosts are found, gateways."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from nodes.lisp.eid import EidPrefix, IPAddress

IPInterface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Locator:
    """One RLOC of a locator-set (RFC 9301 section 5.4).

    Attributes:
        address: The RLOC.
        priority: 0 to 255, the lowest wins; 255 is never used for unicast.
        weight: 0 to 255, the share among locators of equal priority.
        via: The RTRs that packets pass on the way, the first one first: what is registered is then an Explicit Locator
            Path (RFC 8060 section 4.6). Empty in what the data path is told: it sends to the next hop.
    """

    address: IPAddress
    priority: int = 1
    weight: int = 100
    via: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class DatabaseMapping:
    """An EID-prefix of this site and the locator-set under which it is reached.

    Attributes:
        prefix: The EID-prefix that the ETR registers.
        locators: Its locator-set.
        ttl_minutes: The Record TTL given to others.
    """

    prefix: EidPrefix
    locators: tuple[Locator, ...]
    ttl_minutes: int = 1440


@dataclass(frozen=True, slots=True)
class DynamicEid:
    """A prefix in which the ETR registers each host that it sees, as a /32 or /128 (requirements X01, X02).

    Attributes:
        prefix: The permitted prefix.
        locators: The locator-set of every host found in it.
        ttl_minutes: The Record TTL given to others.
        routers: Addresses of routers in it, of this site and of others: none is a host's.
        proxy_reply_requests: How many unanswered ARP or neighbour requests for a host that is not here precede the
            router's own answer (requirement X12).
        host_silence: Seconds that a host may be silent before it is asked for (requirement X05); 0 never asks.
        host_probes: How many such questions in a row, a second apart, it may leave unanswered.
    """

    prefix: EidPrefix
    locators: tuple[Locator, ...]
    ttl_minutes: int = 1440
    proxy_reply_requests: int = 1
    routers: frozenset[IPAddress] = frozenset()
    host_silence: float = 60.0
    host_probes: int = 3


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a router is to the hosts behind one of its site interfaces, beside its own addresses there.

    Attributes:
        interface: The site interface.
        addresses: The hosts' default gateway; routers of other sites may have the same (requirement X11).
        mac: The MAC address of the interface, everywhere that of the gateway; "" leaves the interface its own.
        foreign: The default gateways of other sites that hosts which came from there go on using (requirement S06).
    """

    interface: str
    addresses: tuple[IPInterface, ...] = ()
    mac: str = ""
    foreign: tuple[IPInterface, ...] = ()
