"""Addresses of sites: prefixes for those that name none, then routers, hosts and gateways."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from itertools import chain

from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.address.plan import Plan, SegmentPlan, free_subnets, of_version, versions
from testbed.language.network_tables import HostRow, PortRow
from testbed.language.prefixes import inside
from testbed.language.problems import Problems
from testbed.language.segments import Segment, all_segments, gateway_mac, is_lisp
from testbed.language.shapes import At
from testbed.language.tables import TopologyRow
from testbed.model import IPInterface

_LENGTH = {4: 24, 6: 64}
_FIRST_HOST = {4: 11, 6: 0x11}
_SMALLEST_WITH_GAP = {4: 26, 6: 122}
"""In subnets no smaller than these, hosts begin at .11 or ::11; in smaller ones they follow the routers."""


def allot_prefixes(topology: TopologyRow, plan: Plan, problems: Problems) -> None:
    """Give each LISP site or tenant that names no prefixes one of each IP version of the EID space."""
    places = all_segments(topology)
    given = [at.value for one in places for at in (*one.row.eid_prefixes, *one.row.dynamic_eids, *one.row.subnets)]
    free = {
        version: free_subnets(
            of_version(plan.eid_space, version), of_version(given, version), _LENGTH[version], _LENGTH[version]
        )
        for version in versions(plan.eid_space)
    }
    for segment in places:
        row = segment.row
        subnets = tuple(at.value for at in row.subnets)
        prefixes = tuple(at.value for at in row.eid_prefixes)
        dynamic = tuple(at.value for at in row.dynamic_eids)
        if is_lisp(segment.site):
            if not prefixes and not dynamic:
                prefixes = subnets or _fresh(segment, free, problems)
                if not prefixes:
                    return
                if segment.site.mobile:
                    prefixes = tuple(ip_network(one[1]) for one in prefixes)
            subnets = subnets or (*prefixes, *(one for one in dynamic if not inside(one, prefixes)))
        plan.segments[segment.key] = SegmentPlan(prefixes, dynamic, subnets)


def _fresh(segment: Segment, free: dict[int, Iterator[IPNetwork]], problems: Problems) -> tuple[IPNetwork, ...]:
    found = [(version, next(subnets, None)) for version, subnets in free.items()]
    for version, network in found:
        if network is None:
            what = f"the EID space has no /{_LENGTH[version]} left for {segment.label} and those after it"
            problems.add(segment.row.line, what, "allowed is a larger one, or eid-prefixes")
            return ()
    return tuple(network for _, network in found if network is not None)


def allot_sites(topology: TopologyRow, plan: Plan, problems: Problems) -> None:
    """Give every router and host of a site its addresses: first what the file gives, anywhere, then the rest."""
    # A site with a broken prefix has no subnets to judge its addresses by.
    places = [
        one
        for one in all_segments(topology)
        if not (one.site.broken | one.row.broken) & {"lisp", "eid_prefixes", "dynamic_eids", "subnets", "tenants"}
        and one.key in plan.segments
        and plan.segments[one.key].subnets
    ]
    for segment in places:
        owners: list[PortRow | HostRow] = [*segment.ports, *segment.row.hosts]
        for owner in owners:
            for at in owner.address:
                _keep(at, owner, segment, plan, problems)
    for segment in places:
        _shared_gateway(segment, plan, problems)
    for segment in places:
        if segment.site.mobile:
            plan.hosts[segment.site.mobile] = tuple(map(ip_interface, plan.segments[segment.key].eid_prefixes))
        _routers(segment, plan, problems)
        _hosts(segment, plan, problems)


def _keep(at: At[IPInterface], owner: PortRow | HostRow, segment: Segment, plan: Plan, problems: Problems) -> None:
    subnets = plan.segments[segment.key].subnets
    plan.claims.give(at, f"{owner.KIND} {owner.name}", problems, segment.instance_id)
    if at.value.network not in subnets:
        what = f"address {at} of {owner.KIND} {owner.name} is in no subnet of {segment.label}"
        problems.add(at.line, what, f"allowed are addresses in {', '.join(map(str, subnets))}, with its length")


def _shared_gateway(segment: Segment, plan: Plan, problems: Problems) -> None:
    """The gateway that a site's routers have beside their own addresses, one in each subnet."""
    subnets = plan.segments[segment.key].subnets
    mac, who = gateway_mac(segment), f"the gateway of {segment.label}"
    found: dict[IPNetwork, IPInterface] = {}
    for at in segment.row.gateway:
        subnet = next((one for one in subnets if at.value in one), None)
        if subnet is None:
            what = f"gateway {at} of {segment.label} is in none of its subnets"
            problems.add(at.line, what, f"allowed are addresses in {', '.join(map(str, subnets))}")
        elif subnet in found:
            what = f"gateway {at} of {segment.label}: {found[subnet].ip} is its gateway in {subnet}"
            problems.add(at.line, what, "allowed is one in each subnet")
        elif at.value in _nobodys(subnet):
            what = f"gateway {at} of {segment.label} is no host address of {subnet}"
            last = subnet[-2] if subnet.version == 4 else subnet[-1]
            problems.add(at.line, what, f"allowed are the addresses from {subnet[1]} to {last}")
        else:
            found[subnet] = ip_interface((at.value, subnet.prefixlen))
            plan.claims.share(At(found[subnet], at.line), mac, who, problems, segment.instance_id)
    if found:
        plan.shared[segment.key] = tuple(found.values())


def _nobodys(subnet: IPNetwork) -> set[IPAddress]:
    """The addresses of a subnet that no interface may have."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return set()
    # RFC 4291 section 2.6.1: the first address of an IPv6 subnet is every router's; IPv6 has no broadcast.
    return {subnet[0]} if subnet.version == 6 else {subnet[0], subnet[-1]}


def _routers(segment: Segment, plan: Plan, problems: Problems) -> None:
    for port in segment.ports:
        mine: list[IPInterface] = []
        for subnet in plan.segments[segment.key].subnets:
            there = [at.value for at in port.address if at.value.network == subnet]
            fresh = there[0] if there else _allot(subnet, segment, port, plan, first=0)
            if fresh is None:
                what = f"subnet {subnet} has no address left for router {port.name}"
                problems.add(port.line, what, "allowed is a larger one")
                continue
            mine.append(fresh)
        plan.ports[segment.key, port.name] = tuple(mine)


def _hosts(segment: Segment, plan: Plan, problems: Problems) -> None:
    subnets = plan.segments[segment.key].subnets
    for host in segment.row.hosts:
        if "address" in host.broken:
            continue
        given: dict[int, IPInterface] = {at.value.version: at.value for at in host.address}
        mine: list[IPInterface] = []
        for version in versions(subnets):
            subnet = of_version(subnets, version)[0]
            fresh = given.get(version) or _allot(subnet, segment, host, plan, first=_FIRST_HOST[version])
            if fresh is None:
                what = f"subnet {subnet} has no address left for host {host.name}"
                problems.add(host.line, what, "allowed is a larger one, or fewer hosts")
                return
            mine.append(fresh)
        plan.hosts[host.name] = tuple(mine)
        _gateways(host, segment, plan, problems)


def _gateways(host: HostRow, segment: Segment, plan: Plan, problems: Problems) -> None:
    """A host's gateways: as given, else the site's gateway, else the first router in its subnet."""
    found: list[IPAddress] = []
    given = {at.value.version: at for at in host.gateway}
    for address in plan.hosts[host.name]:
        there = list(plan.shared.get(segment.key, ()))
        there += [one for port in segment.ports for one in plan.ports.get((segment.key, port.name), ())]
        near = [one.ip for one in there if one.network == address.network]
        at = given.pop(address.version, None)
        if at is not None:
            found.append(at.value)
            if at.value not in near:
                what = f"gateway {at} of host {host.name} is no router of {segment.label}"
                problems.add(at.line, what, f"allowed is {' or '.join(map(str, near)) or 'nothing here'}")
        elif near:
            found.append(near[0])
    for at in given.values():
        what = f"gateway {at} of host {host.name}, which has no IPv{at.value.version} address"
        problems.add(at.line, what, "allowed is a gateway of each IP version that it has")
    if found:
        plan.gateways[host.name] = tuple(found)


def _allot(
    subnet: IPNetwork, segment: Segment, owner: PortRow | HostRow, plan: Plan, *, first: int
) -> IPInterface | None:
    """The first free address of a subnet from number ``first`` on, then from its start, or None if it is full."""
    longest = subnet.max_prefixlen - 1
    low = 0 if subnet.prefixlen >= longest else 1
    high = subnet.num_addresses - (low if subnet.version == 4 else 0)
    start = first if first and subnet.prefixlen <= _SMALLEST_WITH_GAP[subnet.version] else low
    for offset in chain(range(start, high), range(low, min(start, high))):
        key = (segment.instance_id, subnet[offset])
        if key not in plan.claims.taken:
            plan.claims.taken[key] = (f"{owner.KIND} {owner.name}", owner.line)
            return ip_interface((subnet[offset], subnet.prefixlen))
    return None
