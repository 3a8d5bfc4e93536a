"""Every cable of a topology: which interfaces it joins, with their names, MAC addresses and addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.address import Plan
from testbed.language.network_tables import CableRow
from testbed.language.segments import Segment, all_segments, default_roles, gateway_mac, is_lisp
from testbed.language.tables import TopologyRow
from testbed.model import Interface, IPInterface, Link, Side

DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class End:
    """What one end of a cable has."""

    node: str
    addresses: tuple[IPInterface, ...] = ()
    side: Side | None = None
    instance_id: int = 0
    mac: str = ""


@dataclass(slots=True)
class Wiring:
    """All cables and, by node, the interfaces at their ends, in the file's order.

    Attributes:
        links: The cables.
        interfaces: The interfaces of each node.
        core_mtu: The least MTU of all links of the core, in bytes.
        given: The MAC addresses that the file gives.
    """

    links: list[Link] = field(default_factory=list)
    interfaces: dict[str, list[Interface]] = field(default_factory=dict)
    core_mtu: int = DEFAULT_MTU
    given: frozenset[str] = frozenset()

    def join(self, a: End, b: End, *cables: CableRow | None) -> None:
        """Lay a cable. Interfaces have the name of the node at the other end; MAC addresses count the cables.

        Args:
            a: One end.
            b: The other end.
            cables: What the file says of the cable; what the first leaves out, the next may say.
        """

        def say(key: str) -> int | float | None:
            found = (getattr(one, key) for one in cables if one is not None)
            return next((at.value for at in found if at is not None), None)

        name_a, name_b = self._free_name(a.node, b.node), self._free_name(b.node, a.node)
        number = len(self.links) + 1
        mtu = int(say("mtu") or DEFAULT_MTU)
        for side, end, name, peer, peer_name in ((1, a, name_a, b.node, name_b), (2, b, name_b, a.node, name_a)):
            tail = f"{number >> 8 & 255:02x}:{number & 255:02x}:{side:02x}"
            mac = end.mac or (f"02:00:00:{tail}" if f"02:00:00:{tail}" not in self.given else f"02:00:01:{tail}")
            interface = Interface(name, end.node, peer, peer_name, mac, end.addresses, end.side, end.instance_id, mtu)
            self.interfaces.setdefault(end.node, []).append(interface)
        bandwidth, delay, loss = say("bandwidth"), say("delay") or 0, say("loss") or 0
        rate = None if bandwidth is None else float(bandwidth)
        self.links.append(Link((a.node, name_a), (b.node, name_b), rate, float(delay), float(loss)))

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
    macs = [host.mac.value for one in all_segments(topology) for host in one.row.hosts if host.mac]
    macs += [gateway_mac(one) for one in all_segments(topology) if one.row.gateway]
    wiring = Wiring(given=frozenset(macs))
    for link, (lower, upper) in zip(topology.core.links, plan.core_links, strict=True):
        a, b = (one.value for one in link.between)
        wiring.join(End(a, lower), End(b, upper), link)
    for node, site, _ in default_roles(topology):
        side = Side.CORE if site is None or is_lisp(site) else None
        for uplink in node.links:
            own, peer = plan.uplinks[node.name, uplink.name]
            wiring.join(End(node.name, own, side), End(uplink.router, peer), uplink)
    wiring.core_mtu = min((one.mtu for ends in wiring.interfaces.values() for one in ends), default=DEFAULT_MTU)
    for segment in all_segments(topology):
        _segment(segment, plan, wiring)
    return wiring


def _segment(segment: Segment, plan: Plan, wiring: Wiring) -> None:
    side = Side.SITE if is_lisp(segment.site) else None
    ports = [
        (End(port.name, plan.ports[segment.key, port.name], side, segment.instance_id), port.cable)
        for port in segment.ports
    ]
    hosts = [
        (End(host.name, plan.hosts[host.name], mac=host.mac.value if host.mac else ""), host)
        for host in segment.row.hosts
    ]
    if segment.row.fabric is None:
        # Checked before: without a fabric there is at most one of each.
        for port, cable in ports:
            for end, host in hosts:
                wiring.join(port, end, cable, host)
        return
    for end, cable in (*ports, *hosts):
        wiring.join(End(segment.row.fabric.value), end, cable)
