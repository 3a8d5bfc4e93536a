"""What every machine has in common: a network namespace, netlink into it, and a shell only if asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, ClassVar

from nodes.kinds.stock import Node
from nodes.linux import links, namespaces, routes
from nodes.linux.netlink import Connection
from nodes.linux.sysctl import write_sysctl

StaticRoute = tuple[routes.IPNetwork, routes.IPAddress | None]
"""A destination and its next hop; None makes it unreachable."""

DEFAULT_METRIC = {4: 0, 6: 1024}
"""What the kernel gives a route without a metric: in IPv6, 0 stands for that."""

_LOOPBACK = 1
_HAS_IPV6 = Path("/proc/sys/net/ipv6").exists()  # a kernel may be booted without

# An address is there at once, also a link-local one, as soon as its interface is up: duplicate address detection would
# take a second. Addresses and routes are those of the topology, so nobody asks for a router or believes one. A link
# that was down has the addresses it had before, as in IPv4.
_IPV6: Mapping[str, int] = {
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv6/conf/default/router_solicitations": 0,
    "net/ipv6/conf/all/keep_addr_on_down": 1,
    "net/ipv6/conf/default/keep_addr_on_down": 1,
}
_NO_IPV6: Mapping[str, int] = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}


class Machine(Node):
    """A Mininet node in a network namespace of its own, configured by netlink.

    Stock behaviour that is kept: ``cmd``, ``popen``, ``pexec``, ``IP``, ``MAC``, ``setIP``, ``setDefaultRoute``. A
    process lives in the namespace only once one of those needs it.

    Attributes:
        SYSCTLS: Kernel settings of this kind of machine, by path below /proc/sys.
        namespace: Descriptor of the network namespace, open as long as the node is.
        kernel: The netlink connection into it.
    """

    SYSCTLS: ClassVar[Mapping[str, int]] = {}

    def __init__(
        self,
        name: str,
        routes: Iterable[StaticRoute] = (),
        ipv6: bool = True,
        loopbacks: Iterable[routes.IPAddress] = (),
        **params: Any,
    ) -> None:
        """Make the namespace.

        Args:
            name: The node's name.
            routes: Static routes, added by :meth:`add_routes` when the links are there.
            ipv6: Whether it speaks IPv6 at all; without, it sends no router solicitations or group reports.
            loopbacks: Addresses of its own that are on no link.
            params: Mininet's own.
        """
        self.routes = tuple(routes)
        self.ipv6 = ipv6
        self.namespace = -1
        self._pid: int | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        super().__init__(name, **{**params, "inNamespace": True})
        for address in loopbacks:
            links.add_address(self.kernel, _LOOPBACK, ip_interface(address))

    @classmethod
    def checkSetup(cls) -> None:
        """Stock Mininet looks for ``ifconfig`` here; nothing needs it."""

    @property
    def pid(self) -> int | None:
        """A process inside the namespace, for ``mnexec -a``; started when first asked for."""
        if self._pid is None and self.namespace >= 0:
            with namespaces.inside(self.namespace):
                self._holder = subprocess.Popen([f"mininet:{self.name}", "infinity"], executable="/usr/bin/sleep")
            self._pid = self._holder.pid
        return self._pid

    @pid.setter
    def pid(self, pid: int | None) -> None:
        self._pid = self._pid or pid

    def startShell(self, mnopts: str | None = None) -> None:
        """Make the namespace; the shell of the name waits for the first command."""
        self.namespace = namespaces.new_network()
        self.kernel = Connection(self.namespace)
        settings = {**self.SYSCTLS, **(_IPV6 if self.ipv6 else _NO_IPV6)}
        with namespaces.inside(self.namespace):
            for name, value in settings.items():
                if _HAS_IPV6 or "/ipv6/" not in name:
                    write_sysctl(name, value)
        links.set_up(self.kernel, _LOOPBACK)

    def _start_shell(self) -> None:
        """Start the shell that stock Mininet would have started with the node."""
        self.inNamespace = False  # or mnexec would make a namespace for it
        try:
            with namespaces.inside(self.namespace):
                super().startShell()
        finally:
            self.inNamespace = True

    def sendCmd(self, *args: Any, **kwargs: Any) -> Any:
        """Type a command into the shell."""
        if not self.shell:
            self._start_shell()
        return super().sendCmd(*args, **kwargs)

    def cmd(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command in the shell and return what it prints."""
        if not self.shell:
            self._start_shell()
        return super().cmd(*args, **kwargs)

    def config(
        self,
        mac: str | None = None,
        ip: str | None = None,
        defaultRoute: str | None = None,
        **_params: Any,
    ) -> dict[str, Any]:
        """Configure the first interface, as Mininet's ``addHost`` parameters say."""
        interface = self.defaultIntf() if self.intfs else None
        if interface and mac:
            interface.setMAC(mac)
        if interface and ip:
            interface.setIP(ip)
        if defaultRoute:
            self.setDefaultRoute(defaultRoute)
        return {}

    def setDefaultRoute(self, intf: Any = None) -> None:
        """Set the default route: an interface, or "via ADDRESS", or "dev NAME via ADDRESS"."""
        words = str(intf or self.defaultIntf()).split()
        options = dict(zip(words[::2], words[1::2], strict=False)) if len(words) > 1 else {"dev": words[0]}
        via = ip_address(options["via"]) if "via" in options else None
        index = links.index_of(self.kernel, options["dev"]) if "dev" in options else 0
        everywhere = ip_network("::/0" if via and via.version == 6 else "0.0.0.0/0")
        routes.replace_route(self.kernel, routes.Route(everywhere, via, index))

    @property
    def static_routes(self) -> Iterator[routes.Route]:
        """Its static routes, as they stand in the main table."""
        metrics: dict[routes.IPNetwork, int] = {}
        for prefix, via in self.routes:
            # A second route to one destination stands behind the first.
            metric = metrics[prefix] = metrics.get(prefix, DEFAULT_METRIC[prefix.version] - 1) + 1
            kind = routes.RouteType.UNREACHABLE if via is None else routes.RouteType.UNICAST
            yield routes.Route(prefix, via, type=kind, metric=metric)

    def add_routes(self) -> None:
        """Add the static routes; the links are up by now."""
        for route in self.static_routes:
            routes.add_route(self.kernel, route)

    def routes_by_link(self) -> dict[str, frozenset[routes.Route]]:
        """The static routes that lead over each interface, by its name; the kernel drops them when it goes down."""
        found = {
            interface.name: frozenset(
                route
                for route in self.static_routes
                if route.via and any(route.via in address.network for address in interface.addresses)
            )
            for interface in self.intfList()
        }
        return {name: over for name, over in found.items() if over}

    def terminate(self) -> None:
        """End the node's own processes and let the namespace go; its interfaces go with it."""
        if self.shell:
            super().terminate()
        if self._holder:
            self._holder.kill()
            self._holder.wait()
            self._holder = None
        if self.namespace >= 0:
            self.kernel.close()
            os.close(self.namespace)
            self.namespace = -1
