"""What this machine offers: each thing is tried, not looked up, in namespaces that go when the trial is over."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from nodes.dataplane.bpf.compiler import CompileError, find_clang
from nodes.linux import classifier, ebpf, genetlink, libbpf, links, namespaces, qdisc, routes, sysctl, tcx, tun
from nodes.linux.links import VethEnd
from nodes.linux.netlink import Connection, NetlinkError
from nodes.lisp.config import DataPlane
from testbed.client.box import ROOT, give, owner
from testbed.dataplane import programs

_TOOL_SECONDS = 10.0
_KVM_GET_API_VERSION = 0xAE00
_PYTHON = (3, 11)
_DOCUMENTATION = ip_network("192.0.2.0/24")
_ALL_NAMESPACES = (
    namespaces.CLONE_NEWNET
    | namespaces.CLONE_NEWNS
    | namespaces.CLONE_NEWUTS
    | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWPID
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one trial.

    Attributes:
        name: What was looked for.
        found: Whether it is there and works.
        needed: Whether no lab can run without it.
        detail: Its version or how it was found; or why not.
        cost: What goes without it.
    """

    name: str
    found: bool
    needed: bool
    detail: str
    cost: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to look for.

    Attributes:
        name: What it is called.
        cost: What goes without it.
        attempt: Tries it and says its version or how it was found; raises OSError where it is not there.
        needed: Whether no lab can run without it.
    """

    name: str
    cost: str
    attempt: Callable[[], str]
    needed: bool = False

    def run(self) -> Finding:
        """Try it."""
        try:
            return Finding(self.name, True, self.needed, self.attempt(), self.cost)
        except OSError as error:
            return Finding(self.name, False, self.needed, error.strerror or str(error), self.cost)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine is, as it calls itself; the memory in MB."""

    system: str
    kernel: str
    processor: str
    processors: int
    memory_mb: int

    @property
    def words(self) -> str:
        """One line for a person."""
        size = f"{self.processors} processors, {self.memory_mb} MB"
        return f"{self.system}, kernel {self.kernel} on {self.processor}, {size}"


@dataclass(frozen=True, slots=True)
class Report:
    """What the machine is and offers."""

    machine: Machine
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> tuple[Finding, ...]:
        """What is not there."""
        return tuple(one for one in self.findings if not one.found)

    @property
    def lab_can_run(self) -> bool:
        """Whether a lab can run here."""
        return not any(one.needed for one in self.missing)

    @property
    def dataplane(self) -> tuple[DataPlane, str]:
        """What would forward packets here with ``dataplane: auto``, and why it would not be eBPF."""
        lacking = next((one for one in self.missing if one.name in _FOR_EBPF), None)
        if lacking is None:
            return DataPlane.EBPF, ""
        return DataPlane.PYTHON, f"{lacking.name}: {lacking.detail}"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        runs, why = self.dataplane
        return {
            "lab_can_run": self.lab_can_run,
            "machine": asdict(self.machine),
            "dataplane": {"runs": runs, "why": why},
            "findings": [asdict(one) for one in self.findings],
        }


def examine() -> Report:
    """Try everything; takes about a second, most of it for tools that say their versions."""
    return Report(_machine(), tuple(trial.run() for trial in TRIALS))


def _machine() -> Machine:
    system = platform.system()
    if Path("/etc/os-release").exists():
        system = platform.freedesktop_os_release().get("PRETTY_NAME", system)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(system, platform.release(), platform.machine(), len(os.sched_getaffinity(0)), memory >> 20)


def _root() -> str:
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, "namespaces and interfaces belong to root: use sudo")
    return "yes"


def _python() -> str:
    if sys.version_info < _PYTHON:
        raise OSError(
            errno.EOPNOTSUPP, f"{platform.python_version()}; {'.'.join(map(str, _PYTHON))} or newer is needed"
        )
    return platform.python_version()


def _namespaces() -> str:
    child = os.fork()  # what is unshared cannot be given back
    if not child:
        try:
            namespaces.unshare(_ALL_NAMESPACES)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    refusal = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if refusal:
        raise OSError(refusal, os.strerror(refusal))
    return "network, mount, PID, UTS, IPC"


def _in_scratch(attempt: Callable[[Connection, int], object]) -> Callable[[], str]:
    """A trial in a network namespace of its own, given a connection into it and its descriptor."""

    def run() -> str:
        with namespaces.scratch_network() as namespace, Connection(namespace) as kernel:
            try:
                attempt(kernel, namespace)
            except NetlinkError as error:
                raise _not_in_this_kernel() if error.errno == errno.ENOENT else error from None
        return "works"

    return run


def _not_in_this_kernel() -> OSError:
    return OSError(errno.EOPNOTSUPP, "not in this kernel")


def _tun(_kernel: Connection, namespace: int) -> None:
    with namespaces.inside(namespace):
        os.close(tun.open_tun("lisp0"))


def _netem() -> str:
    if not qdisc.has_netem():
        raise _not_in_this_kernel()
    return "makes the delays and losses of links"


def _classifiers() -> str:
    if not classifier.has_classifiers():
        raise _not_in_this_kernel()
    return "works"


def _tcx() -> str:
    if not tcx.has_tcx():
        raise _not_in_this_kernel()
    return "works"


def _ipv6() -> str:
    if not sysctl.has_sysctl("net/ipv6"):
        raise OSError(errno.EAFNOSUPPORT, "the kernel was booted without")
    return "works"


def _packet_socket() -> str:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    return "works"


def _ebpf() -> str:
    os.close(ebpf.load_classifier(ebpf.set_register(0, 0) + ebpf.EXIT))
    jit = Path("/proc/sys/net/core/bpf_jit_enable")
    with_jit = "JIT" if jit.exists() and jit.read_text().strip() != "0" else "no JIT"
    return f"{with_jit}, {'BTF' if Path('/sys/kernel/btf/vmlinux').exists() else 'no BTF'}"


def _libbpf() -> str:
    return libbpf.version()


def _programs() -> str:
    """The data plane itself: compiled, then loaded as a router's daemon does, which is the verifier's word on it."""
    try:
        compiled = programs()
    except CompileError as error:
        raise OSError(errno.ENOEXEC, str(error)) from None
    began = time.monotonic()
    try:
        libbpf.Object(compiled).close()
    except libbpf.LoadError as error:
        log = compiled.with_suffix(".refused.log")
        log.write_text(f"{error}\n{error.log}", encoding="utf-8")
        give(log, owner())
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)} when they were loaded: see {log}") from None
    return f"loaded in {(time.monotonic() - began) * 1000:.0f} ms: {compiled.relative_to(ROOT)}"


def _openvswitch() -> str:
    try:
        genetlink.find_family("ovs_datapath")
    except FileNotFoundError:
        raise _not_in_this_kernel() from None
    return "works"


def _kvm() -> str:
    descriptor = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    try:
        return f"API {fcntl.ioctl(descriptor, _KVM_GET_API_VERSION)}"
    finally:
        os.close(descriptor)


def _nftables() -> str:
    found = _tool("nft", "--version")()
    with namespaces.scratch_network() as namespace, namespaces.inside(namespace):
        tried = subprocess.run(["nft", "add", "table", "netdev", "trial"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise OSError(errno.EOPNOTSUPP, f"nft {found}: {tried.stderr.strip().splitlines()[0]}")
    return found


def _tool(name: str, *arguments: str) -> Callable[[], str]:
    """A trial of a tool: run it and find its version in what it says."""

    def run() -> str:
        if shutil.which(name) is None:
            raise FileNotFoundError(errno.ENOENT, "not installed")
        if not arguments:
            return "installed"
        try:
            done = subprocess.run(
                [name, *arguments], capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(errno.ETIMEDOUT, f"does not say its version within {_TOOL_SECONDS:g} s") from None
        number = re.search(r"\d[\w.]*\d", done.stdout + done.stderr)
        return number.group() if number else "installed"

    return run


def _clang() -> str:
    found = find_clang()
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "not installed")
    return _tool(str(found), "--version")()


def _package(name: str) -> Callable[[], str]:
    """A trial of a Python package."""

    def run() -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "not installed") from None

    return run


_SLOW = "the daemons forward by themselves, at a few per cent of the kernel's speed"
_FOR_EBPF = frozenset({"clsact, cls_bpf", "eBPF", "libbpf", "clang", "tc programs"})

TRIALS: tuple[Trial, ...] = (
    Trial("root", "no lab", _root, needed=True),
    Trial("Python", "no lab", _python, needed=True),
    Trial("Mininet", "no lab", _package("mininet"), needed=True),
    Trial("PyYAML", "no topology can be read", _package("PyYAML"), needed=True),
    Trial("namespaces", "no lab: everything of a lab is inside them", _namespaces, needed=True),
    Trial(
        "veth",
        "no lab: every link is one",
        _in_scratch(lambda kernel, _: links.add_veth(kernel, VethEnd("a"), VethEnd("b"))),
        needed=True,
    ),
    Trial(
        "bridge",
        "no lab: the fabric of a site is one",
        _in_scratch(lambda kernel, _: links.add_bridge(kernel, "fabric")),
        needed=True,
    ),
    Trial("TUN", "no lab: LISP routers encapsulate through it; try modprobe tun", _in_scratch(_tun), needed=True),
    Trial(
        "policy rules",
        "no lab: LISP routers keep EIDs and RLOCs apart by them",
        _in_scratch(lambda kernel, _: routes.add_rule(kernel, routes.Rule(100, 4, 100, destination=_DOCUMENTATION))),
        needed=True,
    ),
    Trial("packet sockets", "ping cannot judge paths; no delays without netem", _packet_socket),
    Trial("IPv6", "no topology with IPv6 addresses boots", _ipv6),
    Trial(
        "netem",
        "delays are made by a relay process (about 0.7 Gbit/s of TCP), losses by clsact and cls_bpf",
        _netem,
    ),
    Trial(
        "tbf",
        "no topology whose links have a bandwidth boots; netem is not used",
        _in_scratch(lambda kernel, _: qdisc.add_tbf(kernel, 1, 1_000_000, 4000, 10_000)),
    ),
    Trial(
        "htb",
        "nothing of ours; Mininet's TCLink and your own tc commands inside nodes",
        _in_scratch(lambda kernel, _: qdisc.add_htb(kernel, 1)),
    ),
    Trial(
        "clsact, cls_bpf",
        "no topology with tenants boots, nor, where netem is missing, one whose links have a loss",
        _classifiers,
    ),
    Trial("nftables", "nothing of ours; your own packet filters inside nodes", _nftables),
    Trial("tcx", "an eBPF data plane that is some per cent slower (Linux 6.6 has it)", _tcx),
    Trial("eBPF", f"no topology with instance-IDs boots; {_SLOW}", _ebpf),
    Trial("libbpf", _SLOW, _libbpf),
    Trial("clang", f"{_SLOW}", _clang),
    Trial("tc programs", _SLOW, _programs),
    Trial("Open vSwitch module", "nothing yet: fabrics are Linux bridges", _openvswitch),
    Trial("KVM", "nothing yet: no node is a virtual machine", _kvm),
    Trial("BIRD", "no topology with routing: ospf-bgp boots", _tool("bird", "--version")),
    Trial("mnexec", "Mininet's own cmd and popen do not work from Python", _tool("mnexec")),
    Trial("ip", "ci/lab exec NODE -- ip route", _tool("ip", "-V")),
    Trial("ping", "hosts cannot ping by hand", _tool("ping", "-V")),
    Trial("tcpdump", "no captures by hand inside nodes", _tool("tcpdump", "--version")),
    Trial("iperf3", "ci/lab traffic does not work", _tool("iperf3", "--version")),
    Trial("tshark", "the suite has no second judge of its captures", _tool("tshark", "--version")),
    Trial("QEMU", "nothing yet: no node is a virtual machine", _tool(f"qemu-system-{platform.machine()}", "--version")),
)
