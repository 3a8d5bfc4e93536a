"""Addresses for whatever the file leaves open: the same file always gives the same addresses.

* Each link of the core has a subnet of each IP version of the RLOC space: a /30 and a /64. If there is room, each /30
  begins a /24 of its own, so that the third byte tells links apart; otherwise they follow one another. The core router
  has the lower address (between two core routers: the first named), the other node the higher one: that is its RLOC.
* With ``routing: ospf-bgp`` core routers have loopback addresses in the last block of the RLOC space.
* A site without EID-prefixes gets the next free /24 and /64 of the EID space.
* In a subnet, routers count up from the first address; hosts from .11 or ::11, or after the routers where a subnet is
  too small for that.

What the file gives is kept, and what is kept is never allotted a second time.
"""

from __future__ import annotations

from testbed.address.links import allot_links, allot_loopbacks
from testbed.address.plan import Plan, SegmentPlan
from testbed.address.sites import allot_prefixes, allot_sites
from testbed.language.problems import Problems
from testbed.language.tables import TopologyRow

__all__ = ["Plan", "SegmentPlan", "allot"]


def allot(topology: TopologyRow, problems: Problems) -> Plan:
    """Give every interface its addresses; what cannot be is noted in ``problems``."""
    space = topology.address_space
    if space is None or space.broken:
        return Plan((), ())
    plan = Plan(tuple(at.value for at in space.rloc), tuple(at.value for at in space.eid))
    allot_loopbacks(topology, plan, problems)
    allot_links(topology, plan, problems)
    allot_prefixes(topology, plan, problems)
    allot_sites(topology, plan, problems)
    return plan
