"""What a LISP router sets up in its kernel: TUN devices, policy rules and tables, marks, sysctls.

Every instance-ID of the site has a TUN device, ``lisp0`` or ``lisp<instance-ID>``, and tables of its own. A packet that
comes in by a site interface passes these rules, in this order::

    100  to the RLOC space           refused: hosts have no way to an RLOC (requirement S01)
    150  IPv6, of one link only      table local
    200  native, of the instance     the router's addresses and the subnets there (requirement S02)
    300  candidates, of the instance for encapsulation: the TUN device; without the daemon, unreachable

A packet that comes in by a core interface passes the first of these, at a PITR then 200 of instance 0 and the second::

    90   from the site's EIDs        dropped: its hosts are behind its own interfaces, the packet is forged
    300  proxy                       the EID aggregates: lisp0; without the daemon, unreachable

A mobile node is its own site: what it sends itself (``lo``) passes the rules of a site interface, but goes to the RLOC
space by the table main, if its source is no EID.

Everything else goes by the tables local and main, what comes out of ``lisp0`` included; between the two, where hosts
are found one by one, by the native one of instance 0: a host of another subnet has its host route there. What comes
out of the device of another instance stays in that instance, and so does what the router itself says to its hosts:
packets that come in carry a mark, the answers to them carry it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from nodes.daemon.gateways import Gateways
from nodes.daemon.native_routes import NATIVE_TABLES, NativeRoutes
from nodes.dataplane.decision import OVERHEAD, Tables
from nodes.dataplane.devices import Devices
from nodes.linux import links, marks, neighbours, netlink, routes, sysctl, tun
from nodes.linux.routes import Route, RouteType, Rule
from nodes.lisp.config import DataPlane, NodeConfig, Role
from nodes.lisp.eid import EidPrefix, IPAddress, IPNetwork, host_prefix

CANDIDATE_TABLES = 2_000_000_000
"""The number of instance 0's table of candidates; that of another instance is larger by its instance-ID."""

PROXY_TABLE = 3_000_000_000
_SPOOFED, _DENY, _LINK_SCOPE, _NATIVE, _CANDIDATES, _LOCAL, _GUESTS = 90, 100, 150, 200, 300, 500, 510
_MARKED_NATIVE, _MARKED_CANDIDATES = 400, 410
_OURS = (_SPOOFED, _DENY, _LINK_SCOPE, _NATIVE, _CANDIDATES, _MARKED_NATIVE, _MARKED_CANDIDATES, _LOCAL, _GUESTS)
_LOOPBACK = "lo"
_WORSE = 4096  # a metric behind the kernel's own: taken when the device is gone
QUEUE = 8192
"""Packets that wait in a TUN device for the daemon to read."""

_NEIGHBOUR_QUEUE = 1 << 22  # bytes that wait for ARP: held packets are released in a burst
_ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_ONE_LINK = (ip_network("ff00::/8"), ip_network("fe80::/10"))  # the same on every link: told apart by the interface
DATA_ROLES = frozenset({Role.ITR, Role.ETR, Role.PITR, Role.PETR, Role.RTR})


def device_of(instance_id: int) -> str:
    """The name of an instance's TUN device."""
    return f"lisp{instance_id}"


def transit_of(instance_id: int) -> str:
    """The name of an instance's transit device at an RTR: a TUN device that only the kernel's programs write to."""
    return f"rtr{instance_id}"


class Plumbing:
    """The kernel side of the data path. Setting it up again after a crash changes nothing that is right already.

    Attributes:
        sites: The instance-ID behind each site interface, by its name.
        tuns: The descriptor of each instance's TUN device, by instance-ID.
        transits: The descriptor of each instance's transit device; none at a node that is no RTR, or runs Python alone.
        versions: The IP versions that the node forwards.
        native: The instances' tables of native routes.
        kernel: The connection into the node's namespace.
        gateways: The gateways that it can be.
    """

    def __init__(self, config: NodeConfig, tables: Tables) -> None:
        """Make the devices, the tables and the rules in the caller's network namespace.

        Raises:
            OSError: The kernel refused; the text says what.
        """
        self._config = config
        self._tables = tables
        prefixes = [one.prefix for one in config.database] + [one.prefix for one in config.dynamic_eids]
        networks = [one.network for one in (*prefixes, *config.eid_aggregates)]
        # In the core the addresses of another instance mean somebody else (requirement D20).
        self._site_networks = sorted({one.network for one in prefixes if one.instance_id == 0}, key=str)
        self.versions = frozenset({one.version for one in (*config.rlocs, *networks)})
        site_instances = config.site_instances or (0,) * len(config.site_interfaces)
        self.sites = dict(zip(config.site_interfaces, site_instances, strict=True))
        instances = {0, *self.sites.values(), *(one.instance_id for one in prefixes)}
        self.kernel = self._kernel = netlink.Connection()
        self._core = {links.index_of(self._kernel, name): name for name in config.core_interfaces}
        self.tuns = {instance_id: tun.open_tun(device_of(instance_id)) for instance_id in sorted(instances)}
        self._devices = {one: links.index_of(self._kernel, device_of(one)) for one in self.tuns}
        self._indices = {name: links.index_of(self._kernel, name) for name in self.sites}
        carried = tables.proxied if Role.RTR in config.roles and config.dataplane is not DataPlane.PYTHON else ()
        self.transits = {instance_id: tun.open_tun(transit_of(instance_id)) for instance_id in sorted(carried)}
        self._transit_devices = {one: links.index_of(self._kernel, transit_of(one)) for one in self.transits}
        self._set_sysctls()
        for device in self._transit_devices.values():
            links.set_mtu(self._kernel, device, config.core_mtu)
            links.set_queue_length(self._kernel, device, QUEUE)
            links.set_up(self._kernel, device)
        for device in self._devices.values():
            links.set_mtu(self._kernel, device, config.core_mtu - self._overhead())
            links.set_queue_length(self._kernel, device, QUEUE)
            links.set_up(self._kernel, device)
        self._mark_incoming()
        self.gateways = Gateways(self._kernel, config)
        self._guard = -1
        if config.map_notify_group is None:
            self.gateways.take(self._kernel)
        else:  # a peer may be it
            self._guard = self.gateways.leave_with_process()
            self.gateways.leave(self._kernel)
        of_interface = {self._indices[name]: instance_id for name, instance_id in self.sites.items()}
        self.native = NativeRoutes(
            self._kernel, self.versions, of_interface, (one.prefix for one in config.dynamic_eids)
        )
        self.refresh()
        for version in sorted(self.versions):
            self._set_candidates(version)
            self._set_rules(version)

    @property
    def devices(self) -> Devices:
        """The node's interfaces by index."""
        sites = {self._indices[name]: instance_id for name, instance_id in self.sites.items()}
        return Devices(sites, tuple(self._core), dict(self._devices), dict(self._transit_devices))

    def refresh(self) -> list[str]:
        """Copy the routes of each instance anew; returns what the kernel refused, in words."""
        self._tables.native, refused = self.native.mirror()
        self._addresses = links.list_addresses(self._kernel)
        return refused

    def add_host(self, eid: EidPrefix, interface: str) -> None:
        """Add the host route of a dynamic-EID (requirement X08).

        Raises:
            NetlinkError: The kernel refused.
        """
        self.native.add_host(eid, self._indices[interface])
        self._tables.native.set(eid, True)

    def remove_host(self, eid: EidPrefix) -> None:
        """Take the host route of a dynamic-EID away."""
        self.native.remove_host(eid)
        self._tables.native.pop(eid)

    def site_of(self, index: int) -> str | None:
        """The site interface that has an index, or None."""
        return next((name for name, number in self._indices.items() if number == index), None)

    def except_host(self, eid: EidPrefix) -> None:
        """Make what goes to a host of the own subnet a candidate for encapsulation (requirement X10).

        :meth:`remove_host` ends that.

        Raises:
            NetlinkError: The kernel refused.
        """
        self.native.except_host(eid)
        self._tables.native.set(eid, False)

    def interface_of(self, eid: EidPrefix) -> str | None:
        """The site interface on whose subnet an EID is, or None."""
        for name, instance_id in self.sites.items():
            subnets = [one.network for one in self._addresses.get(self._indices[name], ())]
            if instance_id == eid.instance_id and any(eid.address in subnet for subnet in subnets):
                return name
        return None

    def own_addresses(self, interface: str, version: int) -> list[IPAddress]:
        """Every address of the router on an interface that is not of that link alone."""
        own = self._addresses.get(self._indices[interface], ())
        return [one.ip for one in own if one.version == version and not one.is_link_local]

    def own_address(self, interface: str, neighbour: IPAddress) -> IPAddress | None:
        """The router's address on an interface by which it speaks to a neighbour: one of its subnet if there is one."""
        own = [one for one in self._addresses.get(self._indices[interface], ()) if one.version == neighbour.version]
        own.sort(key=lambda one: neighbour not in one.network)
        return own[0].ip if own else None

    def set_neighbour(self, eid: EidPrefix, interface: str, mac: bytes) -> None:
        """A host was heard with this MAC address: the kernel does not have to ask, nor goes by another one.

        Raises:
            NetlinkError: The kernel refused.
        """
        neighbours.set_neighbour(self._kernel, self._indices[interface], eid.address, mac)

    def forget_neighbour(self, eid: EidPrefix, interface: str) -> None:
        """Let the kernel's place for a host that may have left be another one's: all routers of a machine share them.

        Raises:
            NetlinkError: The kernel refused.
        """
        neighbours.forget_neighbour(self._kernel, self._indices[interface], eid.address)

    def look_for_neighbours(self) -> None:
        """Ask again for the hosts that the kernel knows from before a restart: those that are there answer (X01)."""
        indices = {self._indices[name]: instance_id for name, instance_id in self.sites.items()}
        for index, address in list(neighbours.list_neighbours(self._kernel)):
            instance_id = indices.get(index)
            if instance_id is not None and self._tables.dynamic.lookup_address(instance_id, address):
                neighbours.look_for(self._kernel, index, address)

    def source_of(self, locator: IPAddress) -> IPAddress | None:
        """The own RLOC from which ``locator`` is reached, by the output interface of its route (requirement S05)."""
        try:
            route = routes.get_route(self._kernel, locator)
        except netlink.NetlinkError:
            return None
        if route.source in self._tables.own or self._config.mobile:
            return route.source if route.source in self._tables.own else None
        own = [one for one in self._config.rlocs if one.version == locator.version]
        for rloc, name in zip(own, self._config.core_interfaces, strict=False):
            if self._core.get(route.interface) == name:
                return rloc
        return own[0] if own else None

    def be_gateway(self, active: bool) -> None:
        """Be the hosts' gateway, or not (requirement X09).

        Raises:
            NetlinkError: The kernel refused.
        """
        (self.gateways.take if active else self.gateways.leave)(self._kernel)

    def reaches_core(self) -> bool:
        """Whether any core interface has a link."""
        states = {link.index: link.up and link.carrier for link in links.list_links(self._kernel)}
        return any(states.get(index, False) for index in self._core)

    def own_changes(self) -> dict[IPAddress, bool]:
        """The own RLOCs whose link went down, or came up again, since the data path was told (requirement D09)."""
        states = {link.index: link.up and link.carrier for link in links.list_links(self._kernel)}
        of_name = {name: states.get(index, False) for index, name in self._core.items()}
        found: dict[IPAddress, bool] = {}
        for version in (4, 6):
            own = [one for one in self._config.rlocs if one.version == version]
            found |= {rloc: of_name[name] for rloc, name in zip(own, self._config.core_interfaces, strict=False)}
        return {rloc: up for rloc, up in found.items() if up == (rloc in self._tables.down)}

    def _overhead(self) -> int:
        """What encapsulation adds to every packet: that much smaller is what the kernel lets into a device.

        It refuses or cuts what is larger. Where there are locators of both IP versions, it is one size for some packets
        and another for others: then the data path does that, by each packet's locator (requirements D16, D17).
        """
        overheads = {OVERHEAD[one.version] for one in self._config.rlocs}
        if self._config.mobile:  # its packets are made here: as small as every locator takes them
            return max(overheads)
        return overheads.pop() if len(overheads) == 1 else 0

    def _set_sysctls(self) -> None:
        config = self._config
        ports = (*config.site_interfaces, *config.core_interfaces)
        devices = [device_of(one) for one in self.tuns]
        sysctl.write_sysctl("net/ipv4/ip_forward", 1)
        for name in ("all", "default", *ports, *devices):
            # Sources of decapsulated packets lie behind the core, not behind a TUN device.
            sysctl.write_sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
        for name in config.core_interfaces if Role.PITR in config.roles else ():
            # What a PETR in this node tells an EID goes into the core, and comes back to the PITR as any packet does.
            sysctl.write_sysctl(f"net/ipv4/conf/{name}/accept_local", 1)
        if config.dynamic_eids:
            # A host that was told to send to another directly would go on when that one has moved.
            for name in ("all", *config.site_interfaces):
                sysctl.write_sysctl(f"net/ipv4/conf/{name}/send_redirects", 0)
        for name in ports:
            sysctl.write_sysctl(f"net/ipv4/neigh/{name}/unres_qlen_bytes", _NEIGHBOUR_QUEUE)
        for name in config.core_interfaces:
            # A route by a link that is cut at its other end is no route: the next best is taken (RFC 9301 section 7).
            for version in sorted(self.versions):
                sysctl.write_sysctl(f"net/ipv{version}/conf/{name}/ignore_routes_with_linkdown", 1)
        if 6 in self.versions:
            sysctl.write_sysctl("net/ipv6/conf/all/forwarding", 1)
        for device in devices if config.mobile else ():
            # What goes to a non-LISP site natively comes back into the kernel, and is from this node itself.
            sysctl.write_sysctl(f"net/ipv4/conf/{device}/accept_local", 1)
        for device in devices:
            if 6 in self.versions:
                # No link-local address, and so no packets of its own.
                sysctl.write_sysctl(f"net/ipv6/conf/{device}/addr_gen_mode", 1)
                # Also where IPv6 is off in this namespace: a proxy of an IPv4 core may serve IPv6 EIDs.
                sysctl.write_sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 0)
            elif sysctl.has_sysctl(f"net/ipv6/conf/{device}/disable_ipv6"):
                sysctl.write_sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 1)
        for device in map(transit_of, self.transits):
            if sysctl.has_sysctl(f"net/ipv6/conf/{device}/disable_ipv6"):  # no packets of the kernel's own
                sysctl.write_sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 1)

    def _mark_incoming(self) -> None:
        """D20: what the kernel answers to a packet of an instance goes back into that instance."""
        ports = [(name, instance_id) for name, instance_id in self.sites.items() if instance_id]
        ports += [(device_of(instance_id), instance_id) for instance_id in self.tuns if instance_id]
        if not ports:
            return
        sysctl.write_sysctl("net/ipv4/fwmark_reflect", 1)
        if 6 in self.versions:
            sysctl.write_sysctl("net/ipv6/fwmark_reflect", 1)
        for name, instance_id in ports:
            marks.mark_incoming(self._kernel, links.index_of(self._kernel, name), instance_id)
            # A host's address may be the router's own in another instance.
            sysctl.write_sysctl(f"net/ipv4/conf/{name}/accept_local", 1)

    def _set_candidates(self, version: int) -> None:
        prefixes: list[tuple[int, IPNetwork, int]] = []
        if Role.ITR in self._config.roles:
            prefixes += [(CANDIDATE_TABLES + one, _ANYWHERE[version], device) for one, device in self._devices.items()]
        if Role.PITR in self._config.roles:
            aggregates = [one.network for one in self._config.eid_aggregates if one.version == version]
            prefixes += [(PROXY_TABLE, network, self._devices[0]) for network in aggregates]
        for table, prefix, device in prefixes:
            unreachable = Route(prefix, type=RouteType.UNREACHABLE, table=table, metric=_WORSE)
            routes.replace_route(self._kernel, unreachable)
            source = self._own_eid(version)
            routes.replace_route(self._kernel, Route(prefix, interface=device, table=table, source=source))

    def _own_eid(self, version: int) -> IPAddress | None:
        """The source of what a mobile node sends: its own EID of an IP version, if it has one."""
        own = [one.prefix for one in self._config.database if self._config.mobile]
        return next((one.address for one in own if one.network.version == version), None)

    def _wanted_rules(self, version: int) -> Iterator[Rule]:
        config = self._config
        for network in _ONE_LINK if version == 6 else ():
            yield Rule(_LINK_SCOPE, version, routes.LOCAL_TABLE, destination=network)
        for name in config.core_interfaces:
            for network in self._site_networks:
                if network.version == version:
                    # Without a word, which would go to the host that did not send it.
                    yield Rule(_SPOOFED, version, incoming=name, source=network, refuse=RouteType.BLACKHOLE)
        for name, instance_id in self.sites.items():
            for network in config.rloc_space:
                if network.version == version:
                    yield Rule(_DENY, version, incoming=name, destination=network, refuse=RouteType.PROHIBIT)
            yield Rule(_NATIVE, version, NATIVE_TABLES + instance_id, name)
            if Role.ITR in config.roles:
                yield Rule(_CANDIDATES, version, CANDIDATE_TABLES + instance_id, name)
        if own := self._own_eid(version):
            for network in config.rloc_space:
                if network.version == version:
                    eid = host_prefix(own).network
                    yield Rule(
                        _SPOOFED,
                        version,
                        incoming=_LOOPBACK,
                        destination=network,
                        source=eid,
                        refuse=RouteType.PROHIBIT,
                    )
                    yield Rule(_DENY, version, routes.MAIN_TABLE, _LOOPBACK, destination=network)
            yield Rule(_NATIVE, version, NATIVE_TABLES, _LOOPBACK)
            yield Rule(_CANDIDATES, version, CANDIDATE_TABLES, _LOOPBACK)
        for instance_id in self.tuns:
            if instance_id:
                device, native = device_of(instance_id), NATIVE_TABLES + instance_id
                yield Rule(_NATIVE, version, native, device)
                yield Rule(_CANDIDATES, version, incoming=device, refuse=RouteType.UNREACHABLE)
                yield Rule(_MARKED_NATIVE, version, native, mark=instance_id)
                yield Rule(_MARKED_CANDIDATES, version, CANDIDATE_TABLES + instance_id, mark=instance_id)
        if Role.PITR in config.roles:
            for name in config.core_interfaces:
                yield Rule(_NATIVE, version, NATIVE_TABLES, name)
                yield Rule(_CANDIDATES, version, PROXY_TABLE, name)
        yield Rule(_LOCAL, version, routes.LOCAL_TABLE)
        if any(one.prefix.instance_id == 0 for one in config.dynamic_eids):
            yield Rule(_GUESTS, version, NATIVE_TABLES)

    def _set_rules(self, version: int) -> None:
        wanted = list(self._wanted_rules(version))
        there = list(routes.list_rules(self._kernel, version))
        for rule in wanted:
            if rule not in there:
                routes.add_rule(self._kernel, rule)
        for rule in there:
            # The kernel's own rule for the local table, at 0, would be asked before ours.
            first = rule == Rule(0, version, routes.LOCAL_TABLE)
            if first or (rule.priority in _OURS and rule not in wanted):
                routes.delete_rule(self._kernel, rule)

    def close(self) -> None:
        """Let the devices go. Rules and tables stay: without its device they refuse what they sent into it."""
        self.native.close()
        self._kernel.close()
        if self._guard >= 0:
            os.close(self._guard)
        for descriptor in (*self.tuns.values(), *self.transits.values()):
            os.close(descriptor)


def interface_rows(kernel: netlink.Connection, config: NodeConfig) -> list[dict[str, Any]]:
    """Every interface of the namespace but loopback, with what it faces, its addresses and counters."""
    sides = dict.fromkeys(config.site_interfaces, "site") | dict.fromkeys(config.core_interfaces, "core")
    addresses = links.list_addresses(kernel)
    return [
        {
            "name": link.name,
            "side": sides.get(link.name, "lisp" if link.kind == "tun" else ""),
            "state": "up" if link.up else "down",
            "addresses": [str(one) for one in addresses.get(link.index, ()) if not one.is_link_local],
            "mac": link.mac,
            "mtu": link.mtu,
            "rx_packets": link.rx_packets,
            "rx_bytes": link.rx_bytes,
            "rx_dropped": link.rx_dropped,
            "tx_packets": link.tx_packets,
            "tx_bytes": link.tx_bytes,
            "tx_dropped": link.tx_dropped,
        }
        for link in links.list_links(kernel)
        if link.name != "lo"
    ]
