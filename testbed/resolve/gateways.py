"""Which addresses the routers of sites have towards hosts, beside their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodes.lisp.config import Gateway
from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.address import Plan
from testbed.address.plan import Addresses
from testbed.language.segments import Segment, all_segments, gateway_mac, is_lisp, segments
from testbed.language.tables import SiteRow, TopologyRow
from testbed.model import Interface, IPInterface


def gateways(topology: TopologyRow, site: SiteRow, plan: Plan, interfaces: Sequence[Interface]) -> tuple[Gateway, ...]:
    """What a router of a site is to its hosts beside what its own addresses say.

    Args:
        topology: What the file says.
        site: The site.
        plan: Every address.
        interfaces: The router's interfaces towards the hosts.
    """
    found = []
    for segment in segments(site):
        shared = plan.shared.get(segment.key, ())
        foreign = _foreign(segment, topology, plan)
        for interface in interfaces if shared or foreign else ():
            if interface.instance_id == segment.instance_id:
                found.append(Gateway(interface.name, shared, gateway_mac(segment) if shared else "", foreign))
    return tuple(found)


def routers_in(prefix: IPNetwork, segment: Segment, topology: TopologyRow, plan: Plan) -> frozenset[IPAddress]:
    """Every router's address in a dynamic prefix of a segment, wherever it is: a host has none of them."""
    others = (one for one in all_segments(topology) if one.instance_id == segment.instance_id)
    return frozenset(
        address.ip
        for other in others
        for address in (*_own(other, plan), *plan.shared.get(other.key, ()))
        if address.ip in prefix
    )


def _foreign(segment: Segment, topology: TopologyRow, plan: Plan) -> Addresses:
    """The gateways of other sites whose hosts may come here: those inside the dynamic prefixes."""
    permitted = plan.segments[segment.key].dynamic_eids
    here = {address.ip for address in (*plan.shared.get(segment.key, ()), *_own(segment, plan))}
    there = (
        address
        for other in all_segments(topology)
        if is_lisp(other.site) and other.instance_id == segment.instance_id and other.site is not segment.site
        for address in plan.shared.get(other.key) or _own(other, plan)
        if address.ip not in here and any(address.ip in prefix for prefix in permitted)
    )
    return tuple(dict.fromkeys(there))


def _own(segment: Segment, plan: Plan) -> Iterator[IPInterface]:
    """The own addresses of a segment's routers."""
    for port in segment.ports:
        yield from plan.ports.get((segment.key, port.name), ())
