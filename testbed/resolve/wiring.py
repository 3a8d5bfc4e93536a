"""Every cable of a topology: which interfaces it joins, with their names, MAC addresses and addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.address import Plan
from testbed.language.checks import default_roles, is_lisp
from testbed.language.tables import SiteRow, TopologyRow
from testbed.model import Interface, IPInterface, Link, Side


@dataclass(frozen=True, slots=True)
class End:
    """What one end of a cable has."""

    node: str
    addresses: tuple[IPInterface, ...] = ()
    side: Side | None = None
    mac: str = ""


@dataclass(slots=True)
class Wiring:
    """All cables and, by node, the interfaces at their ends, in the file's order."""

    links: list[Link] = field(default_factory=list)
    interfaces: dict[str, list[Interface]] = field(default_factory=dict)
    given: frozenset[str] = frozenset()  # the MAC addresses that the file gives

    def join(self, a: End, b: End) -> None:
        """Lay a cable. Interfaces have the name of the node at the other end; MAC addresses count the cables."""
        name_a, name_b = self._free_name(a.node, b.node), self._free_name(b.node, a.node)
        number = len(self.links) + 1
        for side, end, name, peer, peer_name in ((1, a, name_a, b.node, name_b), (2, b, name_b, a.node, name_a)):
            tail = f"{number >> 8 & 255:02x}:{number & 255:02x}:{side:02x}"
            mac = end.mac or (f"02:00:00:{tail}" if f"02:00:00:{tail}" not in self.given else f"02:00:01:{tail}")
            interface = Interface(name, end.node, peer, peer_name, mac, end.addresses, end.side)
            self.interfaces.setdefault(end.node, []).append(interface)
        self.links.append(Link((a.node, name_a), (b.node, name_b)))

    def _free_name(self, node: str, peer: str) -> str:
        """The peer's name, or with a number for a second cable to it."""
        names = {one.name for one in self.interfaces.get(node, ())}
        name, number = peer, 1
        while name in names:
            number += 1
            name = f"{peer}-{number}"
        return name


def wire(topology: TopologyRow, plan: Plan) -> Wiring:
    """Lay all cables: the core's, then those of each node to the core, then each site's own."""
    wiring = Wiring(given=frozenset(host.mac.value for site in topology.sites for host in site.hosts if host.mac))
    for link, (lower, upper) in zip(topology.core.links, plan.core_links, strict=True):
        a, b = (one.value for one in link.between)
        wiring.join(End(a, (lower,)), End(b, (upper,)))
    for node, site, _ in default_roles(topology):
        side = Side.CORE if site is None or is_lisp(site) else None
        for uplink in node.links:
            own, peer = plan.uplinks[node.name, uplink.name]
            wiring.join(End(node.name, (own,), side), End(uplink.name, (peer,)))
    for site in topology.sites:
        _site(site, plan, wiring)
    return wiring


def _site(site: SiteRow, plan: Plan, wiring: Wiring) -> None:
    side = Side.SITE if is_lisp(site) else None
    routers = [End(one.name, plan.routers[one.name], side) for one in site.routers]
    hosts = [End(one.name, (plan.hosts[one.name],), None, one.mac.value if one.mac else "") for one in site.hosts]
    if site.fabric is None:
        # Checked before: without a fabric there is at most one of each.
        for router in routers:
            for host in hosts:
                wiring.join(router, host)
        return
    for end in (*routers, *hosts):
        wiring.join(End(site.fabric.value), end)
