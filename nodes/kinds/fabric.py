"""A fabric: the Ethernet switch inside a data centre, here a Linux bridge in a namespace of its own."""

from __future__ import annotations

import zlib
from typing import Any, ClassVar

from nodes.kinds.base import Machine
from nodes.kinds.stock import Switch
from nodes.linux import links
from nodes.linux.sysctl import has_sysctl

# Where the kernel has br_netfilter, a bridge shows each frame to the IP firewall, which takes time and drops what is no
# sound IP packet. A switch does not look into frames.
_NO_FIREWALL = {
    name: 0
    for name in (f"net/bridge/bridge-nf-call-{tables}" for tables in ("iptables", "ip6tables", "arptables"))
    if has_sysctl(name)
}


class Fabric(Machine, Switch):
    """A learning switch. Its bridge has the fabric's name; every interface is a port of it."""

    SYSCTLS: ClassVar = _NO_FIREWALL
    controlIntf = None  # there is no OpenFlow controller

    def __init__(self, name: str, **params: Any) -> None:
        """Make the bridge."""
        params.setdefault(
            "dpid", f"{zlib.crc32(name.encode()):x}"
        )  # Mininet wants one, and derives it from digits only
        super().__init__(name, **{**params, "ipv6": False})
        self.bridge = links.add_bridge(self.kernel, name)

    def start(self, _controllers: Any = ()) -> None:
        """Make every interface a port."""
        for interface in self.intfList():
            self.attach(interface)

    def attach(self, interface: Any) -> None:
        """Make one interface a port."""
        links.set_master(self.kernel, interface.index, self.bridge)

    def stop(self, deleteIntfs: bool = True) -> None:
        """Let the namespace go, and the bridge with it."""
        self.terminate()
