"""A router's namespace for tests of the tc programs, with interfaces, routes, and the maps as the daemon writes them.

The kernel runs the programs on packets for a trial (BPF_PROG_TEST_RUN): nothing is sent but where a test says so.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

from nodes.dataplane.bpf import compiler
from nodes.dataplane.bpf.layout import NUMBER, PORT, SETTINGS, Statistic
from nodes.dataplane.decision import SourceOf, Tables
from nodes.dataplane.devices import Devices
from nodes.dataplane.kernel_path import KernelPath
from nodes.linux import libbpf, links
from nodes.linux.libbpf import TestRun
from nodes.linux.links import VethEnd
from nodes.linux.namespaces import inside, scratch_network
from nodes.linux.netlink import Connection
from nodes.linux.sysctl import write_sysctl
from nodes.linux.tun import open_tun
from tests.unit.data_path import by_family

SITE_MAC, CORE_MAC, ELSEWHERE = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:99"
OLD_KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 3)
"""It cannot be told that another IP version comes out of a header: such packets may be left to the stack."""

REDIRECTED, LEFT, DROPPED = 7, -1, 2
INSTANCE = 7
_IFINDEX_AT = 40  # in struct __sk_buff
_ADDRESSES = (
    "10.0.1.1/16 dev core",
    "2001:db8:0:1::1/48 dev core",
    "192.168.1.254/32 dev site",
    "2001:db8:1::fe/128 dev site",
)
SITE_NEIGHBOUR = {4: "192.168.1.253", 6: "2001:db8:1::fd"}
_ROUTES = (
    ("192.168.1.0/24", SITE_NEIGHBOUR[4], "site"),
    ("2001:db8:1::/64", SITE_NEIGHBOUR[6], "site"),
    # Past the site: whatever is routed, has a way.
    ("default", "10.0.255.254", "core"),
    ("default", "2001:db8:0:ffff::1", "core"),
)
"""Destinations, the neighbour that knows the way, whose MAC address is known, and the port to it."""
_KNOWN = ("10.0.2.1", "10.0.4.1", "10.0.6.1", "2001:db8:0:2::1", "2001:db8:0:4::1", "2001:db8:0:6::1")
"""Locators whose MAC addresses are known; those of others on the same link are not."""


@cache
def why_not() -> str:
    """Why the programs cannot run here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root"
    try:
        with libbpf.Object(compiler.provide()):
            return ""
    except (OSError, compiler.CompileError) as error:
        return f"the tc programs cannot be loaded: {error}"


@dataclass(slots=True)
class Router:
    """The namespace, with the programs loaded.

    Attributes:
        loaded: Maps and programs.
        namespace: The router's, and ``outside`` the one where the other ends of its links are.
        site, core: Indices of its ports.
        tuns: Descriptors of its TUN devices by instance-ID, and ``transits`` of its transit devices.
        devices: All of it as the data path sees it.
    """

    loaded: libbpf.Object
    namespace: int
    outside: int
    kernel: Connection
    site: int
    core: int
    tuns: dict[int, int]
    transits: dict[int, int]
    devices: Devices

    def load(self, tables: Tables, source_of: SourceOf = by_family) -> KernelPath:
        """Write the maps as the daemon does."""
        failed: list[object] = []
        path = KernelPath(
            self.loaded.maps,
            self.loaded.maps["statistics"],
            self.loaded.maps["flows"],
            tables,
            self.devices,
            source_of,
            report=lambda *what: failed.append(what),
            clock=lambda: 0.0,
            monotonic_ns=lambda: 0,
        )
        flows = self.loaded.maps["flows"]  # fresh maps know none
        for key, value in list(flows.items()):
            flows.update(key, bytes(len(value)))
        path.start()
        assert path.in_step, failed
        return path

    def run(
        self, program: str, packet: bytes, interface: int, mac: str, *, gso_size: int = 0, version: int = 0
    ) -> TestRun:
        """Run a program on an IP packet in a frame to ``mac`` that came in by an interface.

        The frame says ``version``; 0: what the packet says.
        """
        with inside(self.namespace):
            return self.loaded.programs[program].test_run(frame(packet, mac, version), context(interface, gso_size))

    def from_site(self, packet: bytes, **how: int) -> TestRun:
        return self.run("lisp_site", packet, self.site, SITE_MAC, **how)

    def from_core(self, packet: bytes, **how: int) -> TestRun:
        return self.run("lisp_core", packet, self.core, CORE_MAC, **how)

    @contextmanager
    def in_instance(self, instance_id: int) -> Iterator[None]:
        """The site port has hosts of this instance."""
        there, key = self.loaded.maps["ports"], NUMBER.pack(self.site)
        before = there.lookup(key)
        assert before is not None
        there.update(key, PORT.pack(instance_id, self.devices.tuns[instance_id], 0))
        self.forget_flows()
        try:
            yield
        finally:
            there.update(key, before)
            self.forget_flows()

    def forget_flows(self) -> None:
        """Let the programs decide anew about every flow, as the daemon does after each write."""
        there, key = self.loaded.maps["settings"], NUMBER.pack(0)
        enabled, roles, generation = SETTINGS.unpack(there.lookup(key) or b"")
        there.update(key, SETTINGS.pack(enabled, roles, generation + 1000))

    def statistics(self) -> dict[Statistic, int]:
        """What the programs have counted since they were loaded."""
        found = self.loaded.maps["statistics"]
        return {
            one: sum(int.from_bytes(part, "little") for part in found.split(found.lookup(NUMBER.pack(one)) or b""))
            for one in Statistic
        }

    def ip(self, arguments: str) -> str:
        """Run ``ip`` in the namespace; gives what it says."""
        with inside(self.namespace):
            return subprocess.run(["ip", *arguments.split()], check=True, stdout=subprocess.PIPE, text=True).stdout


def frame(packet: bytes, mac: str, version: int = 0) -> bytes:
    """An Ethernet frame around an IP packet, or around whatever claims to be one."""
    ethertype = 0x86DD if (version or packet[0] >> 4) == 6 else 0x0800
    return bytes.fromhex((mac + ELSEWHERE).replace(":", "")) + struct.pack("!H", ethertype) + packet


def context(interface: int, gso_size: int = 0) -> bytes:
    """``struct __sk_buff`` of a packet that came in by an interface."""
    made = bytearray(192)
    struct.pack_into("=I", made, _IFINDEX_AT, interface)
    struct.pack_into("=I", made, 176, gso_size)
    return bytes(made)


@contextmanager
def a_router() -> Iterator[Router]:
    """Make one; with the block it goes."""
    with scratch_network() as namespace, scratch_network() as outside, Connection(namespace) as kernel:
        with inside(namespace):
            links.add_veth(kernel, VethEnd("site", None, SITE_MAC), VethEnd("host", outside, ELSEWHERE))
            links.add_veth(kernel, VethEnd("core", None, CORE_MAC), VethEnd("net", outside, ELSEWHERE))
            tuns = {one: open_tun(f"lisp{one}") for one in (0, INSTANCE)}
            transits = {one: open_tun(f"rtr{one}") for one in tuns}
            for one in tuns:  # or they would report, some time, that they listen to the group of all routers
                subprocess.run(["ip", "link", "set", f"lisp{one}", "multicast", "off"], check=True)
            write_sysctl("net/ipv4/ip_forward", 1)
            write_sysctl("net/ipv6/conf/all/forwarding", 1)
            write_sysctl("net/ipv4/conf/all/rp_filter", 0)
            ports = ("site", "core", *(f"{kind}{one}" for kind in ("lisp", "rtr") for one in tuns))
            indices = {name: links.index_of(kernel, name) for name in ports}
            for one in tuns:
                write_sysctl(f"net/ipv6/conf/rtr{one}/disable_ipv6", 1)
                links.set_up(kernel, indices[f"rtr{one}"])
                links.set_mtu(kernel, indices[f"lisp{one}"], 1464)
                write_sysctl(f"net/ipv6/conf/lisp{one}/addr_gen_mode", 1)  # no packets of its own
                links.set_up(kernel, indices[f"lisp{one}"])
                write_sysctl(f"net/ipv4/conf/lisp{one}/rp_filter", 0)
        devices = Devices(
            {indices["site"]: 0},
            (indices["core"],),
            {one: indices[f"lisp{one}"] for one in tuns},
            {one: indices[f"rtr{one}"] for one in transits},
        )
        with libbpf.Object(compiler.provide()) as loaded:
            ends = indices["site"], indices["core"]
            made = Router(loaded, namespace, outside, kernel, *ends, tuns, transits, devices)
            for address in _ADDRESSES:
                made.ip(f"address add {address}" + (" nodad" if ":" in address.split()[0] else ""))
            for destination, neighbour, port in _ROUTES:
                made.ip(f"neighbour add {neighbour} lladdr {ELSEWHERE} dev {port} nud permanent")
                made.ip(f"route replace {neighbour} dev {port}")
                made.ip(f"route add {destination} via {neighbour}")
            for one in _KNOWN:
                made.ip(f"neighbour add {one} lladdr {ELSEWHERE} dev core nud permanent")
            yield made
        for descriptor in (*tuns.values(), *transits.values()):
            os.close(descriptor)


def own(version: int) -> str:
    """The router's RLOC."""
    return str(by_family(ip_address("10.0.0.0" if version == 4 else "2001:db8::")))
