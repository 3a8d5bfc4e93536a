"""What is allotted, and to whom."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.language.problems import Problems
from testbed.language.segments import SegmentKey
from testbed.language.shapes import At
from testbed.model import IPInterface

Addresses = tuple[IPInterface, ...]
"""The addresses of one interface, at most one of each IP version for each subnet, IPv4 first."""


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """The prefixes of one segment."""

    eid_prefixes: tuple[IPNetwork, ...] = ()
    dynamic_eids: tuple[IPNetwork, ...] = ()
    subnets: tuple[IPNetwork, ...] = ()


@dataclass(slots=True)
class Claims:
    """Who has which address; the same one may be used once in each instance."""

    taken: dict[tuple[int, IPAddress], tuple[str, int]] = field(default_factory=dict)
    shared: dict[tuple[int, IPAddress], tuple[str, str, int]] = field(default_factory=dict)

    def give(self, at: At[IPInterface], who: str, problems: Problems, instance_id: int = 0) -> None:
        """Keep an address that the file gives."""
        other = self.taken.setdefault((instance_id, at.value.ip), (who, at.line))
        if other != (who, at.line):
            what = f"address {at.value.ip} of {who} is taken"
            problems.add(at.line, what, f"allowed is each address once ({other[0]} has it in line {other[1]})")

    def share(self, at: At[IPInterface], mac: str, who: str, problems: Problems, instance_id: int) -> None:
        """Keep the address of a gateway: others may have it as well, if they have its MAC address."""
        key = (instance_id, at.value.ip)
        if key not in self.shared:
            self.give(at, who, problems, instance_id)
            self.shared[key] = (mac, who, at.line)
            return
        other_mac, other, line = self.shared[key]
        if mac != other_mac:
            what = f"{who} has the address {at.value.ip} and the MAC address {mac}"
            allowed = f"allowed is one MAC address for one address ({other} has {other_mac} in line {line})"
            problems.add(at.line, what, allowed)


@dataclass(slots=True)
class Plan:
    """Every address of a topology.

    Attributes:
        rloc_space: The RLOC space.
        eid_space: The EID space.
        core_links: The two ends of each core link, in the file's order.
        uplinks: For (node, link), the node's end and the core router's.
        loopbacks: The loopback addresses of each core router, if there are any.
        segments: The prefixes of each site or tenant.
        ports: For (segment, router), the router's addresses towards the hosts there.
        shared: For each segment that has one, the gateway that its routers have beside their own addresses.
        hosts: The addresses of each host.
        gateways: The default gateways of each host that has one.
        claims: Who has which address.
    """

    rloc_space: tuple[IPNetwork, ...]
    eid_space: tuple[IPNetwork, ...]
    core_links: list[tuple[Addresses, Addresses]] = field(default_factory=list)
    uplinks: dict[tuple[str, str], tuple[Addresses, Addresses]] = field(default_factory=dict)
    loopbacks: dict[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    segments: dict[SegmentKey, SegmentPlan] = field(default_factory=dict)
    ports: dict[tuple[SegmentKey, str], Addresses] = field(default_factory=dict)
    shared: dict[SegmentKey, Addresses] = field(default_factory=dict)
    hosts: dict[str, Addresses] = field(default_factory=dict)
    gateways: dict[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    claims: Claims = field(default_factory=Claims)

    @property
    def versions(self) -> list[int]:
        """The IP versions of the RLOC space."""
        return versions(self.rloc_space)

    def rlocs(self, node: str, links: Iterable[str]) -> tuple[IPAddress, ...]:
        """The addresses of a node on its ``links``: all of one IP version, then all of the other."""
        own = [address.ip for link in links for address in self.uplinks[node, link][0]]
        return tuple(sorted(own, key=lambda address: address.version))


def versions(networks: Iterable[IPNetwork]) -> list[int]:
    """The IP versions of some prefixes, IPv4 first."""
    return sorted({one.version for one in networks})


def of_version(networks: Iterable[IPNetwork], version: int) -> list[IPNetwork]:
    """Those of one IP version."""
    return [one for one in networks if one.version == version]


def free_subnets(
    spaces: Iterable[IPNetwork], taken: Iterable[IPNetwork], length: int, block: int
) -> Iterator[IPNetwork]:
    """Prefixes of ``length`` bits at the start of each free block of ``block`` bits, lowest first.

    All of ``spaces`` and ``taken`` are of one IP version.
    """
    used = sorted((int(one.network_address), int(one.broadcast_address)) for one in taken)
    starts = [first for first, _ in used]
    for space in spaces:
        size = 1 << (space.max_prefixlen - block)
        end = int(space.broadcast_address)
        at = int(space.network_address)
        while at + size - 1 <= end:
            index = bisect_right(starts, at + size - 1) - 1
            if index >= 0 and used[index][1] >= at:
                at = (used[index][1] // size + 1) * size
                continue
            yield type(space)((at, length))
            at += size
