"""A small world of namespaces for tests of the daemon: two sites back to back over a core, and one map-server.

::

    h1 -- xtr1 -- core -- xtr2 -- h2          10.0.<n>.1 are RLOCs, 10.0.<n>.254 the core's ends
                    |   |
                   ms  net                     net: 203.0.113.9, a host that knows nothing of LISP
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from nodes.linux import ethtool, links, namespaces, netlink, routes, sysctl, unix_socket
from nodes.lisp.config import (
    Algorithm,
    DatabaseMapping,
    Delegation,
    Key,
    Locator,
    MapServerPeer,
    NodeConfig,
    RegistrationSite,
    Role,
    SitePrefix,
)
from nodes.lisp.eid import EidPrefix

KEY = Key(1, Algorithm.HMAC_SHA_256_128_HKDF_SHA256, "a secret of the test")
SITES = {"xtr1": ("192.168.1.0/24", "10.0.1.1"), "xtr2": ("192.168.2.0/24", "10.0.2.1")}
AGGREGATE = EidPrefix.of("192.168.0.0/16")
ALL = ("h1", "xtr1", "core", "xtr2", "h2", "ms", "net")
DAD = "net/ipv6/conf/{}/accept_dad"
ROOT = Path(__file__).resolve().parents[2]


def xtr_config(name: str, petrs: tuple[str, ...] = ()) -> NodeConfig:
    prefix, rloc = SITES[name]
    return NodeConfig(
        name=name,
        roles=frozenset({Role.ITR, Role.ETR}),
        rlocs=(ip_address(rloc),),
        core_interfaces=("core",),
        site_interfaces=(f"h{name[-1]}",),
        database=(DatabaseMapping(EidPrefix.of(prefix), (Locator(ip_address(rloc)),)),),
        map_resolvers=(ip_address("10.0.3.1"),),
        map_servers=(MapServerPeer(ip_address("10.0.3.1"), KEY),),
        petrs=tuple(ip_address(one) for one in petrs),
        rloc_space=(ip_network("10.0.0.0/16"),),
        xtr_id=f"{int(name[-1]):032x}",
        site_id=1,
    )


def ms_config() -> NodeConfig:
    """The map-server, map-resolver, PITR and PETR in one."""
    return NodeConfig(
        name="ms",
        roles=frozenset({Role.MAP_SERVER, Role.MAP_RESOLVER, Role.PITR, Role.PETR}),
        rlocs=(ip_address("10.0.3.1"),),
        core_interfaces=("core",),
        map_resolvers=(ip_address("10.0.3.1"),),
        eid_aggregates=(AGGREGATE,),
        rloc_space=(ip_network("10.0.0.0/16"),),
        sites=tuple(
            RegistrationSite(f"site of {name}", (KEY,), (SitePrefix(EidPrefix.of(prefix)),))
            for name, (prefix, _) in SITES.items()
        ),
        delegations=tuple(Delegation(EidPrefix.of(prefix), ip_address("10.0.3.1")) for prefix, _ in SITES.values()),
    )


class World:
    """The namespaces, the daemons in them and the means to look at them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.namespace: dict[str, int] = {}
        self.kernel: dict[str, netlink.Connection] = {}
        for name in ALL:
            self.node(name)
        self._wire()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.fork_server = ours
        self._errors = (directory / "fork_server.err").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nodes.daemon.fork_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            stderr=self._errors,
        )
        theirs.close()
        self.pids: dict[str, int] = {}

    def _wire(self) -> None:
        for index, name in enumerate(("xtr1", "xtr2", "ms", "net")):
            self.link(name, "core", index)
        self.link("h1", "xtr1", 11)
        self.link("h2", "xtr2", 12)
        for name, subnet in (("xtr1", "10.0.1"), ("xtr2", "10.0.2"), ("ms", "10.0.3"), ("net", "203.0.113")):
            last = 9 if name == "net" else 1
            self.address("core", name, f"{subnet}.254/24")
            self.address(name, "core", f"{subnet}.{last}/24")
            self.default(name, f"{subnet}.254")
        for host, router, site in (("h1", "xtr1", 1), ("h2", "xtr2", 2)):
            self.address(router, host, f"192.168.{site}.254/24")
            self.address(host, router, f"192.168.{site}.1/24")
            self.default(host, f"192.168.{site}.254")
        # The core knows EIDs by the PxTR's aggregate alone (S01).
        toward_proxy = routes.Route(AGGREGATE.network, ip_address("10.0.3.1"))
        routes.add_route(self.kernel["core"], toward_proxy)
        with namespaces.inside(self.namespace["core"]):
            sysctl.write_sysctl("net/ipv4/ip_forward", 1)

    def node(self, name: str) -> None:
        """A namespace whose interfaces have their addresses at once, as in a lab.

        A router asks for a host from its link-local address. As long as duplicate address detection keeps that
        tentative, up to two seconds after its interface came up, the kernel asks nobody and holds the packets. So this
        is set before there is an interface: what detection has begun, it ends.
        """
        self.namespace[name] = namespaces.new_network()
        self.kernel[name] = netlink.Connection(self.namespace[name])
        with namespaces.inside(self.namespace[name]):
            if sysctl.has_sysctl(DAD.format("default")):
                sysctl.write_sysctl(DAD.format("default"), 0)

    def link(self, a: str, b: str, number: int) -> None:
        """A cable between two nodes; each end has the name of the other node."""
        ends = [
            links.VethEnd(peer, self.namespace[node], f"02:00:00:00:{number:02x}:{side:02x}")
            for side, (node, peer) in enumerate(((a, b), (b, a)))
        ]
        links.add_veth(self.kernel[a], *ends)
        ethtool.offloads_off(b, self.namespace[a])
        ethtool.offloads_off(a, self.namespace[b])

    def address(self, node: str, interface: str, address: str) -> None:
        kernel = self.kernel[node]
        links.set_up(kernel, 1)
        links.add_address(kernel, links.index_of(kernel, interface), ip_interface(address))

    def default(self, node: str, via: str) -> None:
        routes.add_route(
            self.kernel[node], routes.Route(ip_network("::/0" if ":" in via else "0.0.0.0/0"), ip_address(via))
        )

    def start(self, config: NodeConfig) -> int:
        """Start a daemon and return the read end of its report pipe."""
        state = self.directory / config.name
        state.mkdir(exist_ok=True)
        (state / "config.json").write_text(config.to_json())
        request = {
            "op": "start",
            "name": config.name,
            "config": str(state / "config.json"),
            "state_dir": str(state),
            "log": str(state / "log.jsonl"),
        }
        report, far = os.pipe()
        socket.send_fds(self.fork_server, [json.dumps(request).encode()], [self.namespace[config.name], far])
        os.close(far)
        self.pids[config.name] = self.event("started", config.name)["pid"]
        return report

    def event(self, kind: str, name: str) -> dict[str, Any]:
        """The fork server's next event, which is to be this one."""
        assert select.select([self.fork_server], [], [], 10)[0], f"the fork server said nothing of {name}"
        event: dict[str, Any] = json.loads(self.fork_server.recv(16384))
        assert (event["event"], event["name"]) == (kind, name), event
        return event

    def wait_for(self, report: int, wanted: str, name: str) -> None:
        """Wait until a daemon has reported an event."""
        said = b""
        until = time.monotonic() + 30
        while f'"{wanted}"'.encode() not in said:
            assert select.select([report], [], [], max(0, until - time.monotonic()))[0], f"{name}: {self.log(name)}"
            part = os.read(report, 4096)
            assert part, f"{name} died: {self.log(name)} {(self.directory / 'fork_server.err').read_text()}"
            said += part

    def boot(self, *configs: NodeConfig) -> None:
        """Start daemons, the first one before the others, and wait until all are registered."""
        reports = []
        for config in configs:
            report = self.start(config)
            if not reports:
                self.wait_for(report, "listening", config.name)
            reports.append((config.name, report))
        for name, report in reports[1:]:
            self.wait_for(report, "registered", name)
        for _, report in reports:
            os.close(report)

    def ask(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Put a request to a daemon's control socket."""
        with unix_socket.connect(self.directory / name / "control.sock") as control:
            control.settimeout(30)
            control.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(control.makefile().readline())
            return answer

    def show(self, name: str, what: str) -> Any:
        """A table of a daemon."""
        answer = self.ask(name, {"op": "show", "what": what})
        assert answer["ok"], answer
        return answer["data"]

    def log(self, name: str) -> list[dict[str, Any]]:
        """A daemon's log."""
        path = self.directory / name / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def run(self, node: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a node."""
        with namespaces.inside(self.namespace[node]):
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def ping(self, source: str, destination: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Ping once, or as ``options`` say."""
        return self.run(source, "ping", "-n", "-c", "1", "-W", "10", *options, destination)

    def socket(self, node: str, kind: int, protocol: int = 0, family: int = socket.AF_INET) -> socket.socket:
        """A socket in a node."""
        with namespaces.inside(self.namespace[node]):
            opened = socket.socket(family, kind, protocol)
        opened.settimeout(20)
        return opened

    @contextmanager
    def capture(self, node: str, interface: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Capture on an interface; the function gives what tshark makes of the packets so far, field by field."""
        sniffer = self.socket(node, socket.SOCK_RAW, socket.htons(3), socket.AF_PACKET)
        sniffer.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
        sniffer.bind((interface, 3))
        sniffer.setblocking(False)
        frames: list[bytes] = []

        def dissect() -> list[dict[str, Any]]:
            while True:
                try:
                    frames.append(sniffer.recv(65536))
                except BlockingIOError:
                    return _tshark(self.directory / "capture.pcap", frames)

        with sniffer:
            yield dissect

    def close(self) -> None:
        self.fork_server.close()
        assert self.process.wait(timeout=30) == 0
        self._errors.close()
        for kernel in self.kernel.values():
            kernel.close()
        for descriptor in self.namespace.values():
            os.close(descriptor)


FIELDS = (
    "frame.protocols", "ip.src", "ip.dst", "ip.ttl", "ip.dsfield", "ip.flags.df", "ip.len", "udp.srcport",
    "udp.dstport", "udp.checksum", "icmp.type", "_ws.malformed", "lisp-data.flags", "lisp-data.iid",
    "ip.checksum.status",
)  # fmt: skip


def _tshark(path: Path, frames: list[bytes]) -> list[dict[str, Any]]:
    body = b"".join(struct.pack("=IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)
    path.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + body)
    wanted = [part for field in FIELDS for part in ("-e", field)]
    options = ["-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=;", "-E", "occurrence=a"]
    done = subprocess.run(
        ["tshark", "-r", str(path), *options, *wanted], capture_output=True, text=True, check=True, timeout=60
    )
    return [dict(zip(FIELDS, line.split(";"), strict=True)) for line in done.stdout.splitlines()]
