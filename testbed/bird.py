"""What BIRD is told on a node (``routing: ospf-bgp``).

Inside the core's AS, OSPF (v2 for IPv4, v3 for IPv6) knows the RLOC space, and BGP sessions between loopback addresses
carry the rest. Other ASes announce what is theirs: a non-LISP site its subnets, a PITR the aggregates of all EIDs and
nothing more specific (RFC 6832 section 5, requirements M13 and M15).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nodes.lisp.eid import IPAddress
from testbed.model import BgpPeer, Node, RoutingDaemon, Topology

_HELLO_SECONDS = 1
_DEAD_SECONDS = 4
_SILENT_SECONDS = 2
HOLD_SECONDS = 9
"""How long a BGP speaker waits for a peer that says nothing."""

_PREAMBLE = """\
log stderr all;
router id {router_id};
timeformat log iso long ms;
timeformat protocol iso long ms;

protocol device {{ scan time 60; }}  # the kernel tells what changes
"""

# Connected networks are the kernel's own; BIRD knows them to announce them and to find next hops.
_CONNECTED = """
protocol direct connected {{
  {channels}
}}
"""

# The kernel says nothing of IPv4 routes that a link takes along when it goes down; BIRD finds them missing by a scan.
_KERNEL = """
protocol kernel kernel{version} {{
  scan time 1;
  ipv{version} {{ import none; export where source != RTS_STATIC && source != RTS_DEVICE; }};
}}
"""

_ANNOUNCED = """
protocol static announced{version} {{
  ipv{version};
{routes}
}}
"""

# BIRD is started as if after a graceful restart (RFC 3623): it tells of itself when its adjacencies had time to form.
# Otherwise it would tell of a router without neighbours first, and stand by that for MinLSInterval, 5 s (RFC 2328
# appendix B).
_OSPF = """
protocol ospf {protocol} ospf{version} {{
  graceful restart on; graceful restart time {silent};
  ipv{version} {{ import all; export none; }};
  area 0 {{
{interfaces}
  }};
}}
"""

_BGP = """
protocol bgp {name} {{
  local {local} as {asn};
  neighbor {address} as {peer_asn};
  connect delay time 1; connect retry time 1; error wait time 1, 4; hold time {hold};
  debug {{ states }};
  ipv{version} {{ {inside}import {imported}; export where {exported}; }};
}}
"""


def configuration(topology: Topology, node: Node) -> str:
    """The text of a node's ``bird.conf``.

    Raises:
        ValueError: No routing daemon runs there, or it is to speak with somebody whom it cannot reach.
    """
    daemon = _daemon(node)
    text = f"# {node.name} of {topology.name}: written by the lab at each boot\n"
    text += _PREAMBLE.format(router_id=daemon.router_id)
    versions = _versions(node)
    if _takes_routes(node):
        text += _CONNECTED.format(channels=" ".join(f"ipv{version};" for version in versions))
    for version in versions:
        if _takes_routes(node):
            text += _KERNEL.format(version=version)
        own = [one for one in daemon.announced if one.version == version]
        if own:
            routes = "\n".join(f"  route {prefix} unreachable;" for prefix in own)
            text += _ANNOUNCED.format(version=version, routes=routes)
        text += _ospf(topology, node, version)
    return text + "".join(_session(topology, node, peer) for peer in daemon.bgp)


def _daemon(node: Node) -> RoutingDaemon:
    if node.routing is None:
        raise ValueError(f"{node.name} runs no routing daemon")
    return node.routing


def _takes_routes(node: Node) -> bool:
    """Whether BIRD's routes go into the node's kernel.

    At a LISP router they would beat its default route, and with it encapsulation (requirement S02): a PITR's BIRD
    announces and nothing else.
    """
    return node.lisp is None


def _versions(node: Node) -> tuple[int, ...]:
    """The address families of its interfaces."""
    return tuple(sorted({address.version for one in node.interfaces for address in one.addresses}))


def _ospf(topology: Topology, node: Node, version: int) -> str:
    daemon = _daemon(node)
    here = {one.name for one in node.interfaces if any(address.version == version for address in one.addresses)}
    speaking = [name for name in daemon.ospf if name in here]
    # The subnet of an access network is there, whether a mobile node is or not.
    access = {one.name for one in node.interfaces if topology[one.peer].networks}
    silent = [name for name in daemon.stubs if name in here - access]
    empty = [name for name in daemon.stubs if name in here & access]
    if not speaking:
        return ""
    lines = [f"    interface {_names(speaking)} {{ type ptp; hello {_HELLO_SECONDS}; dead {_DEAD_SECONDS}; }};"]
    if silent:
        lines.append(f"    interface {_names(silent)} {{ stub; }};")
    if empty:
        lines.append(f"    interface {_names(empty)} {{ stub; check link no; }};")
    # Not as an interface: OSPFv3 ignores one that has no link-local address.
    lines += [
        f"    stubnet {one}/{one.max_prefixlen};  # loopback" for one in daemon.loopbacks if one.version == version
    ]
    protocol = {4: "v2", 6: "v3"}[version]
    return _OSPF.format(protocol=protocol, version=version, silent=_SILENT_SECONDS, interfaces="\n".join(lines))


def _session(topology: Topology, node: Node, peer: BgpPeer) -> str:
    daemon = _daemon(node)
    name, local = _ends(topology, node, peer)
    own = [str(one) for one in daemon.announced if one.version == peer.address.version]
    exported = [f"net ~ [ {', '.join(own)} ]"] if own else []
    if node in topology.core:  # only the core's AS carries packets between others
        exported.append("source = RTS_BGP")
    return _BGP.format(
        name=_symbol(f"{name}_{peer.address.version}"),
        local=local,
        asn=daemon.asn,
        address=peer.address,
        peer_asn=peer.asn,
        hold=HOLD_SECONDS,
        version=peer.address.version,
        inside="next hop self; " if peer.asn == daemon.asn else "",
        imported="all" if _takes_routes(node) else "none",
        exported=" || ".join(exported) or "false",
    )


def _ends(topology: Topology, node: Node, peer: BgpPeer) -> tuple[str, IPAddress]:
    """What to call a session, and its own end: the address on the link to the neighbour, else a loopback address."""
    for interface in node.interfaces:
        for address in interface.addresses:
            if peer.address in address.network:
                return interface.name, address.ip
    for other in topology.nodes.values():
        if other.routing is not None and peer.address in other.routing.loopbacks:
            return other.name, next(one for one in _daemon(node).loopbacks if one.version == peer.address.version)
    raise ValueError(
        f"{node.name} cannot speak BGP with {peer.address}: it is neither on a link of its own nor a loopback"
    )


def _symbol(name: str) -> str:
    """A name as BIRD takes it: in quotes unless it is a plain word."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else f"'{name}'"


def _names(interfaces: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in interfaces)
