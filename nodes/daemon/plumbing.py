"""What a LISP router sets up in its kernel: the TUN device ``lisp0``, policy rules and tables, sysctls.

Every packet that comes in by a site interface passes these rules, in this order::

    100  to the RLOC space           refused: hosts have no way to an RLOC (requirement S01)
    200  table local                 the router's own addresses
    300  table native                a specific route of the main table (requirement S02)
    400  table site                  a candidate for encapsulation: lisp0; without the daemon, unreachable

At a PITR, packets that come in by a core interface pass 200, 300 and

    400  table proxy                 the EID aggregates: lisp0; without the daemon, unreachable

Everything else, what comes out of ``lisp0`` included, goes by the main table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from nodes.daemon.native_routes import NATIVE_TABLE, NativeRoutes
from nodes.dataplane.decision import OVERHEAD, Tables
from nodes.linux import links, netlink, routes, sysctl, tun
from nodes.linux.routes import Route, RouteType, Rule
from nodes.lisp.config import NodeConfig, Role
from nodes.lisp.eid import IPAddress, IPNetwork

DEVICE = "lisp0"
SITE_TABLE, PROXY_TABLE = 1002, 1003
_DENY, _LOCAL, _NATIVE, _CANDIDATES = 100, 200, 300, 400
_OURS = (_DENY, _LOCAL, _NATIVE, _CANDIDATES)
_WORSE = 4096  # a metric behind the kernel's own: taken when the device is gone
_QUEUE = 8192  # packets that wait for the daemon to read
_NEIGHBOUR_QUEUE = 1 << 22  # bytes that wait for ARP: held packets are released in a burst
_ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
DATA_ROLES = frozenset({Role.ITR, Role.ETR, Role.PITR, Role.PETR})


class Plumbing:
    """The kernel side of the data path. Setting it up again after a crash changes nothing that is right already.

    Attributes:
        tun: The descriptor of ``lisp0``.
        versions: The IP versions that the node forwards.
        native: The mirror of specific routes.
    """

    def __init__(self, config: NodeConfig, tables: Tables) -> None:
        """Make the device, the tables and the rules in the caller's network namespace.

        Raises:
            OSError: The kernel refused; the text says what.
        """
        self._config = config
        self._tables = tables
        prefixes = [mapping.prefix.network for mapping in config.database]
        prefixes += [aggregate.network for aggregate in config.eid_aggregates]
        self.versions = frozenset({one.version for one in (*config.rlocs, *prefixes)})
        self._kernel = netlink.Connection()
        self._core = {links.index_of(self._kernel, name): name for name in config.core_interfaces}
        self.tun = tun.open_tun(DEVICE)
        self._device = links.index_of(self._kernel, DEVICE)
        self._set_sysctls()
        links.set_mtu(self._kernel, self._device, config.core_mtu - OVERHEAD[4])
        links.set_queue_length(self._kernel, self._device, _QUEUE)
        links.set_up(self._kernel, self._device)
        self.native = NativeRoutes(self._kernel, self.versions)
        self.refresh()
        for version in sorted(self.versions):
            self._set_candidates(version)
            self._set_rules(version)

    def refresh(self) -> list[str]:
        """Copy the main table's specific routes anew; returns what the kernel refused, in words."""
        self._tables.native, refused = self.native.mirror()
        return refused

    def source_of(self, locator: IPAddress) -> IPAddress | None:
        """The own RLOC from which ``locator`` is reached, by the output interface of its route (requirement S05)."""
        try:
            route = routes.get_route(self._kernel, locator)
        except netlink.NetlinkError:
            return None
        if route.source in self._tables.own:
            return route.source
        own = [one for one in self._config.rlocs if one.version == locator.version]
        for rloc, name in zip(own, self._config.core_interfaces, strict=False):
            if self._core.get(route.interface) == name:
                return rloc
        return own[0] if own else None

    def _set_sysctls(self) -> None:
        names = (*self._config.site_interfaces, *self._config.core_interfaces, DEVICE)
        sysctl.write_sysctl("net/ipv4/ip_forward", 1)
        for name in ("all", "default", *names):
            # Sources of decapsulated packets lie behind the core, not behind lisp0.
            sysctl.write_sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
        for name in names[:-1]:
            sysctl.write_sysctl(f"net/ipv4/neigh/{name}/unres_qlen_bytes", _NEIGHBOUR_QUEUE)
        if 6 in self.versions:
            sysctl.write_sysctl("net/ipv6/conf/all/forwarding", 1)
            # No link-local address, and so no packets of its own.
            sysctl.write_sysctl(f"net/ipv6/conf/{DEVICE}/addr_gen_mode", 1)
        elif sysctl.has_sysctl(f"net/ipv6/conf/{DEVICE}/disable_ipv6"):
            sysctl.write_sysctl(f"net/ipv6/conf/{DEVICE}/disable_ipv6", 1)

    def _set_candidates(self, version: int) -> None:
        prefixes: list[tuple[int, IPNetwork]] = []
        if Role.ITR in self._config.roles:
            prefixes.append((SITE_TABLE, _ANYWHERE[version]))
        if Role.PITR in self._config.roles:
            aggregates = [one.network for one in self._config.eid_aggregates if one.version == version]
            prefixes += [(PROXY_TABLE, network) for network in aggregates]
        for table, prefix in prefixes:
            unreachable = Route(prefix, type=RouteType.UNREACHABLE, table=table, metric=_WORSE)
            routes.replace_route(self._kernel, unreachable)
            routes.replace_route(self._kernel, Route(prefix, interface=self._device, table=table))

    def _wanted_rules(self, version: int) -> Iterator[Rule]:
        config = self._config
        yield Rule(_LOCAL, version, routes.LOCAL_TABLE)
        for name in config.site_interfaces:
            for network in config.rloc_space:
                if network.version == version:
                    yield Rule(_DENY, version, incoming=name, destination=network, refuse=RouteType.PROHIBIT)
            if Role.ITR in config.roles:
                yield Rule(_NATIVE, version, NATIVE_TABLE, name)
                yield Rule(_CANDIDATES, version, SITE_TABLE, name)
        if Role.PITR in config.roles:
            for name in config.core_interfaces:
                yield Rule(_NATIVE, version, NATIVE_TABLE, name)
                yield Rule(_CANDIDATES, version, PROXY_TABLE, name)

    def _set_rules(self, version: int) -> None:
        wanted = list(self._wanted_rules(version))
        there = list(routes.list_rules(self._kernel, version))
        for rule in wanted:
            if rule not in there:
                routes.add_rule(self._kernel, rule)
        for rule in there:
            # The kernel's own rule for the local table, at 0, would be asked before the refusals.
            first = rule == Rule(0, version, routes.LOCAL_TABLE)
            if first or (rule.priority in _OURS and rule not in wanted):
                routes.delete_rule(self._kernel, rule)

    def close(self) -> None:
        """Let the device go. Rules and tables stay: without the device they refuse what they sent into it."""
        self.native.close()
        self._kernel.close()
        os.close(self.tun)


def interface_rows(kernel: netlink.Connection, config: NodeConfig) -> list[dict[str, Any]]:
    """Every interface of the namespace but loopback, with what it faces, its addresses and counters."""
    sides = dict.fromkeys(config.site_interfaces, "site") | dict.fromkeys(config.core_interfaces, "core")
    addresses = links.list_addresses(kernel)
    return [
        {
            "name": link.name,
            "side": sides.get(link.name, "lisp" if link.name == DEVICE else ""),
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
