"""The resolved topology as a topology file: it leaves nothing open, and loading it gives the same world."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nodes.lisp.config import DataPlane, Key, Role
from testbed.address import Plan
from testbed.language.defaults import DEFAULT_HOST_PROBES, DEFAULT_HOST_SILENCE
from testbed.language.network_tables import CableRow, NodeRow
from testbed.language.segments import Segment, default_roles, gateway_mac, is_lisp, proxy_reply, roles_of, segments
from testbed.language.shapes import At
from testbed.language.tables import SiteRow, TopologyRow
from testbed.model import Routing
from testbed.resolve.node_config import (
    DEFAULT_NBR_PROXY_REPLY,
    DEFAULT_PRIORITY,
    DEFAULT_PROBING,
    DEFAULT_TTL_MINUTES,
    DEFAULT_WEIGHT,
    site_keys,
)
from testbed.resolve.wiring import Wiring

# Words that YAML 1.1 takes for something else than text.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def text(topology: TopologyRow, plan: Plan, wiring: Wiring, name: str, foreign: Mapping[str, str]) -> str:
    """Write the file; ``foreign`` says what runs on the nodes that do not run our daemon."""
    return cast_in("\n".join(_topology(topology, plan, wiring, name)) + "\n", foreign)


def cast_in(source: str, foreign: Mapping[str, str]) -> str:
    """The text of a resolved topology with other implementations at its nodes, by name."""
    source = re.sub(r"^ +implementation: .*\n", "", source, flags=re.MULTILINE)
    for node, which in foreign.items():
        # Of all that has a name, LISP nodes alone have roles.
        begin = re.compile(rf"^( +){re.escape(_word(node))}:(?=\n +roles: )", re.MULTILINE)
        line = f"implementation: {_quoted(which)}"
        if found := begin.search(source):
            source = f"{source[: found.end()]}\n{found[1]}  {line}{source[found.end() :]}"
    return source


def _topology(topology: TopologyRow, plan: Plan, wiring: Wiring, name: str) -> Iterator[str]:
    yield f"name: {_word(name)}"
    yield f"title: {_quoted(topology.title.value if topology.title else name)}"
    if topology.time_scale:
        yield f"time-scale: {float(topology.time_scale.value):g}"
    yield f"routing: {topology.routing or Routing.STATIC}"
    yield f"dataplane: {topology.dataplane or DataPlane.AUTO}"
    yield f"probing: {topology.probing.value if topology.probing else DEFAULT_PROBING:g}"
    for key, said in (
        ("path-mtu-discovery", topology.path_mtu_discovery),
        ("locator-status-bits", topology.locator_status_bits),
        ("pubsub", topology.pubsub),
    ):
        yield f"{key}: {_boolean(said)}"
    yield from ["address-space:", f"  rloc: {_list(plan.rloc_space)}", f"  eid: {_list(plan.eid_space)}"]
    yield "core:"
    if plan.loopbacks:
        yield "  routers:"
        for router in topology.core.routers:
            yield f"    {_word(router.name)}: {{loopback: {_list(plan.loopbacks[router.name])}}}"
    else:
        yield f"  routers: {_list(_word(one.name) for one in topology.core.routers)}"
    if topology.core.asn:
        yield f"  asn: {topology.core.asn}"
    if topology.core.links:
        yield "  links:"
    for link, (lower, upper) in zip(topology.core.links, plan.core_links, strict=True):
        addresses = _list(one for pair in zip(lower, upper, strict=True) for one in pair)
        parts = [f"between: {_names(link.between)}", f"addresses: {addresses}", *_cable(link)]
        yield f"    - {{{', '.join(parts)}}}"
    roles = {node.name: [str(one) for one in node.roles] or [default] for node, _, default in default_roles(topology)}
    for section, nodes in (("mapping-system", topology.mapping_system), ("proxies", topology.proxies)):
        if nodes:
            yield f"{section}:"
        for node in nodes:
            yield f"  {_word(node.name)}:"
            yield from _indented(_node(node, plan, roles[node.name], locators=False), 4)
    yield "sites:"
    for site in topology.sites:
        if not site.mobile:
            yield f"  {_word(site.name)}:"
            yield from _indented(_site(site, plan, wiring, roles), 4)
    if topology.mobile_nodes:
        yield "mobile-nodes:"
    for site in topology.sites:
        if site.mobile:
            yield f"  {_word(site.name)}:"
            yield from _indented(_mobile_node(site, plan), 4)
    if topology.expect:
        yield "expect:"
    for row in topology.expect:
        if row.from_ and row.to and row.path:
            version = f", version: {row.version}" if row.version else ""
            yield f"  - {{from: {_word(row.from_.value)}, to: {_word(row.to.value)}, path: {row.path}{version}}}"


def _boolean(said: At[bool] | None) -> str:
    return "true" if said and said.value else "false"


def _node(node: NodeRow, plan: Plan, roles: list[str], *, locators: bool) -> Iterator[str]:
    """What a node with core links has; ``locators``: its links have priorities and weights."""
    if any(roles):
        yield f"roles: {_list(roles)}"
    if node.asn:
        yield f"asn: {node.asn}"
    if node.dataplane:
        yield f"dataplane: {node.dataplane}"
    if node.probing:
        yield f"probing: {node.probing.value:g}"
    if node.path_mtu_discovery:
        yield f"path-mtu-discovery: {_boolean(node.path_mtu_discovery)}"
    if node.locator_status_bits:
        yield f"locator-status-bits: {_boolean(node.locator_status_bits)}"
    if node.pubsub:
        yield f"pubsub: {_boolean(node.pubsub)}"
    if node.versions:
        yield f"versions: {_names(node.versions)}"
    if node.map_resolvers:
        yield f"map-resolvers: {_names(node.map_resolvers)}"
    yield "links:"
    for link in node.links:
        own, peer = plan.uplinks[node.name, link.name]
        parts = [f"to: {_word(link.router)}"] if link.to else []
        parts += [f"address: {_list(own)}", f"peer-address: {_list(peer)}"]
        if locators:
            parts.append(f"priority: {link.priority.value if link.priority else DEFAULT_PRIORITY}")
            parts.append(f"weight: {link.weight.value if link.weight else DEFAULT_WEIGHT}")
        yield f"  {_word(link.name)}: {{{', '.join([*parts, *_cable(link)])}}}"


def _mobile_node(site: SiteRow, plan: Plan) -> Iterator[str]:
    [router] = site.routers
    yield f"key: {_key(site_keys(site)[0])}"
    yield f"eids: {_list(address.ip for address in plan.hosts[site.mobile])}"
    for line in _node(replace(router, locator_status_bits=None), plan, [""], locators=False):
        yield "networks:" if line == "links:" else line
    for name, chosen in (
        ("map-servers", site.map_servers),
        ("map-resolvers", site.map_resolvers),
        ("petrs", site.petrs),
    ):
        if chosen:
            yield f"{name}: {_names(chosen)}"
    yield f"proxy-reply: {str(proxy_reply(site)).lower()}"
    if site.map_notify_group:
        yield f"map-notify-group: {site.map_notify_group}"
    yield f"ttl-minutes: {site.ttl_minutes or DEFAULT_TTL_MINUTES}"


def _site(site: SiteRow, plan: Plan, wiring: Wiring, roles: dict[str, list[str]]) -> Iterator[str]:
    lisp = is_lisp(site)
    if lisp:
        first, *others = map(_key, site_keys(site))
        yield f"key: {first}"
        if others:
            yield f"other-keys: [{', '.join(others)}]"
    else:
        yield "lisp: false"
    yield "routers:"
    for router in site.routers:
        yield f"  {_word(router.name)}:"
        etr = lisp and Role.ETR in roles_of(router, "xtr")
        yield from _indented(_node(router, plan, roles[router.name], locators=etr), 4)
        if not site.tenants:
            yield f"    address: {_list(plan.ports[(site.name, ''), router.name])}"
            cable = list(_cable(router.cable))
            if cable:
                yield f"    cable: {{{', '.join(cable)}}}"
    if site.tenants:
        yield "tenants:"
    for segment in segments(site):
        if segment.tenant:
            yield f"  {_word(segment.tenant)}:"
        yield from _indented(_segment(segment, plan, wiring), 4 if segment.tenant else 0)
    if lisp:
        yield from _choices(site)


def _choices(site: SiteRow) -> Iterator[str]:
    """What a LISP site wants of the mapping system and of proxies."""
    for name, chosen in (
        ("map-servers", site.map_servers),
        ("map-resolvers", site.map_resolvers),
        ("petrs", site.petrs),
        ("locators", site.locators),
        ("via", site.via),
    ):
        if chosen:
            yield f"{name}: {_names(chosen)}"
    specifics = site.accept_more_specifics
    for name, flag in (
        ("use-petr", site.use_petr.value if site.use_petr else True),
        ("proxy-reply", proxy_reply(site)),
        ("accept-more-specifics", specifics.value if specifics else False),
    ):
        yield f"{name}: {str(flag).lower()}"
    if any(segment.row.dynamic_eids for segment in segments(site)):
        yield f"nbr-proxy-reply: {site.nbr_proxy_reply or DEFAULT_NBR_PROXY_REPLY}"
        yield f"host-silence: {site.host_silence.value if site.host_silence else DEFAULT_HOST_SILENCE:g}"
        yield f"host-probes: {site.host_probes or DEFAULT_HOST_PROBES}"
    yield f"ttl-minutes: {site.ttl_minutes or DEFAULT_TTL_MINUTES}"


def _key(key: Key) -> str:
    algorithm = key.algorithm.name.lower().replace("_", "-")
    return f"{{secret: {_quoted(key.secret)}, id: {key.key_id}, algorithm: {algorithm}}}"


def _segment(segment: Segment, plan: Plan, wiring: Wiring) -> Iterator[str]:
    planned = plan.segments[segment.key]
    if segment.instance_id:
        yield f"instance-id: {segment.instance_id}"
    if planned.eid_prefixes:
        yield f"eid-prefixes: {_list(planned.eid_prefixes)}"
    if planned.dynamic_eids:
        yield f"dynamic-eids: {_list(planned.dynamic_eids)}"
    yield f"subnets: {_list(planned.subnets)}"
    if segment.key in plan.shared:
        yield f"gateway: {_list(one.ip for one in plan.shared[segment.key])}"
        yield f'gateway-mac: "{gateway_mac(segment)}"'
    if segment.tenant:
        yield "routers:"
        for port in segment.ports:
            parts = [f"address: {_list(plan.ports[segment.key, port.name])}"]
            cable = list(_cable(port.cable))
            parts += [f"cable: {{{', '.join(cable)}}}"] if cable else []
            yield f"  {_word(port.name)}: {{{', '.join(parts)}}}"
    if segment.row.fabric:
        yield f"fabric: {_word(segment.row.fabric.value)}"
    if segment.row.hosts:
        yield "hosts:"
    for host in segment.row.hosts:
        ports = wiring.interfaces.get(host.name, [])
        parts = [f"address: {_list(plan.hosts[host.name])}"]
        parts += [f"gateway: {_list(plan.gateways[host.name])}"] if host.name in plan.gateways else []
        parts += [f'mac: "{ports[0].mac}"'] if ports else []
        yield f"  {_word(host.name)}: {{{', '.join([*parts, *_cable(host)])}}}"


def _cable(row: CableRow | None) -> Iterator[str]:
    """What the file says of a cable."""
    for name in ("bandwidth", "delay", "loss", "mtu"):
        at = getattr(row, name) if row is not None else None
        if at is not None:
            yield f"{name}: {at.value:.15g}"


def _indented(lines: Iterable[str], by: int) -> Iterator[str]:
    return (f"{' ' * by}{line}" for line in lines)


def _list(items: Iterable[object]) -> str:
    return f"[{', '.join(map(str, items))}]"


def _names(items: Iterable[object]) -> str:
    return _list(_word(str(one)) for one in items)


def _word(name: str) -> str:
    """A name, in quotes where YAML would take it for something else."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) and name.lower() not in _WORDS
    return name if plain else _quoted(name)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
