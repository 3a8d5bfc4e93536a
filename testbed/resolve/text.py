"""The resolved topology as a topology file: it leaves nothing open, and loading it gives the same world."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from testbed.address import Plan
from testbed.language.checks import default_roles, is_lisp
from testbed.language.tables import NodeRow, SiteRow, TopologyRow
from testbed.resolve.node_config import DEFAULT_PRIORITY, DEFAULT_TTL_MINUTES, DEFAULT_WEIGHT, site_key
from testbed.resolve.wiring import Wiring

# Words that YAML 1.1 takes for something else than text.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def text(topology: TopologyRow, plan: Plan, wiring: Wiring, name: str) -> str:
    """Write the file."""
    lines = [f"name: {_word(name)}", f"title: {_quoted(topology.title.value if topology.title else name)}"]
    if topology.time_scale:
        lines.append(f"time-scale: {float(topology.time_scale.value):g}")
    lines += ["address-space:", f"  rloc: {_list(plan.rloc_space)}", f"  eid: {_list(plan.eid_space)}", "core:"]
    lines.append(f"  routers: {_list(_word(one.name) for one in topology.core.routers)}")
    if topology.core.links:
        lines.append("  links:")
    for link, ends in zip(topology.core.links, plan.core_links, strict=True):
        lines.append(f"    - {{between: {_list(_word(one.value) for one in link.between)}, addresses: {_list(ends)}}}")
    roles = {node.name: [str(one) for one in node.roles] or [default] for node, _, default in default_roles(topology)}
    for section, nodes in (("mapping-system", topology.mapping_system), ("proxies", topology.proxies)):
        if nodes:
            lines.append(f"{section}:")
        for node in nodes:
            lines += [f"  {_word(node.name)}:", f"    roles: {_list(roles[node.name])}"]
            lines += ["    links:", *(f"      {one}" for one in _links(node, plan, locators=False))]
    lines.append("sites:")
    for site in topology.sites:
        lines.append(f"  {_word(site.name)}:")
        lines += [f"    {one}" for one in _site(site, plan, wiring, roles)]
    if topology.expect:
        lines.append("expect:")
    for row in topology.expect:
        if row.from_ and row.to and row.path:
            lines.append(f"  - {{from: {_word(row.from_.value)}, to: {_word(row.to.value)}, path: {row.path}}}")
    return "\n".join(lines) + "\n"


def _site(site: SiteRow, plan: Plan, wiring: Wiring, roles: dict[str, list[str]]) -> list[str]:
    lisp = is_lisp(site)
    lines = [f"eid-prefixes: {_list(plan.eid_prefixes[site.name])}"] if lisp else ["lisp: false"]
    lines.append(f"subnets: {_list(plan.subnets[site.name])}")
    if lisp:
        key = site_key(site)
        algorithm = key.algorithm.name.lower().replace("_", "-")
        lines.append(f"key: {{secret: {_quoted(key.secret)}, id: {key.key_id}, algorithm: {algorithm}}}")
    lines.append("routers:")
    for router in site.routers:
        lines.append(f"  {_word(router.name)}:")
        if lisp:
            lines.append(f"    roles: {_list(roles[router.name])}")
        etr = lisp and any(one in ("etr", "xtr") for one in roles[router.name])
        lines += ["    links:", *(f"      {one}" for one in _links(router, plan, locators=etr))]
        lines.append(f"    address: {_list(plan.routers[router.name])}")
    if site.fabric:
        lines.append(f"fabric: {_word(site.fabric.value)}")
    if site.hosts:
        lines.append("hosts:")
    for host in site.hosts:
        port = wiring.interfaces[host.name][0] if host.name in wiring.interfaces else None
        parts = [f"address: {plan.hosts[host.name]}"]
        parts += [f"gateway: {plan.gateways[host.name]}"] if host.name in plan.gateways else []
        parts += [f'mac: "{port.mac}"'] if port else []
        lines.append(f"  {_word(host.name)}: {{{', '.join(parts)}}}")
    if lisp:
        flags = (
            ("proxy-reply", site.proxy_reply.value if site.proxy_reply else False),
            ("use-petr", site.use_petr.value if site.use_petr else True),
            ("accept-more-specifics", site.accept_more_specifics.value if site.accept_more_specifics else False),
        )
        lines += [f"{name}: {str(value).lower()}" for name, value in flags]
        lines.append(f"ttl-minutes: {site.ttl_minutes.value if site.ttl_minutes else DEFAULT_TTL_MINUTES}")
    return lines


def _links(node: NodeRow, plan: Plan, *, locators: bool) -> list[str]:
    lines = []
    for link in node.links:
        own, peer = plan.uplinks[node.name, link.name]
        parts = [f"address: {own}", f"peer-address: {peer}"]
        if locators:
            parts.append(f"priority: {link.priority.value if link.priority else DEFAULT_PRIORITY}")
            parts.append(f"weight: {link.weight.value if link.weight else DEFAULT_WEIGHT}")
        lines.append(f"{_word(link.name)}: {{{', '.join(parts)}}}")
    return lines


def _list(items: Iterable[object]) -> str:
    return f"[{', '.join(map(str, items))}]"


def _word(name: str) -> str:
    """A name, in quotes where YAML would take it for something else."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) and name.lower() not in _WORDS
    return name if plain else _quoted(name)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
