"""Names and MAC addresses are unique, and what is named is there."""

from __future__ import annotations

from testbed.language.network_tables import HostRow
from testbed.language.problems import Problems
from testbed.language.segments import all_segments
from testbed.language.tables import TopologyRow
from testbed.words import one_of


def check_names(topology: TopologyRow, problems: Problems) -> None:
    """Sites, nodes, fabrics and hosts have names of their own."""
    seen: dict[str, tuple[str, int]] = {}

    def take(kind: str, name: str, line: int) -> None:
        if name in seen:
            other, first = seen[name]
            allowed = f"allowed are names of their own ({other} {name} is in line {first})"
            problems.add(line, f"{kind} {name}: the name is taken", allowed)
        seen.setdefault(name, (kind, line))

    for core_router in topology.core.routers:
        take("core router", core_router.name, core_router.line)
    for node in (*topology.mapping_system, *topology.proxies):
        take("node", node.name, node.line)
    sites = [site for site in topology.sites if not site.mobile]
    for kind, rows in (("site", sites), ("mobile node", topology.mobile_nodes)):
        for row in rows:
            if row.name == "core":
                problems.add(row.line, f"{kind} core: the name is taken", "allowed is any other name")
            take(kind, row.name, row.line)
    for site in sites:
        for router in site.routers:
            take("router", router.name, router.line)
    for segment in all_segments(topology):
        if segment.row.fabric:
            take("fabric", segment.row.fabric.value, segment.row.fabric.line)
        for host in segment.row.hosts:
            take("host", host.name, host.line)


def check_macs(topology: TopologyRow, problems: Problems) -> None:
    """Hosts have MAC addresses of their own; gateways share theirs with each other."""
    gateways = {segment.row.gateway_mac.value: segment for segment in all_segments(topology) if segment.row.gateway_mac}
    seen: dict[str, HostRow] = {}
    for segment in all_segments(topology):
        for host in segment.row.hosts:
            if host.mac:
                if gateway := gateways.get(host.mac.value):
                    what = f"MAC address {host.mac} of host {host.name} is taken"
                    problems.add(host.mac.line, what, f"allowed is each once (the gateway of {gateway.label} has it)")
                other = seen.setdefault(host.mac.value, host)
                if other is not host:
                    what = f"MAC address {host.mac} of host {host.name} is taken"
                    problems.add(host.mac.line, what, f"allowed is each once (host {other.name} has it)")


def check_expectations(topology: TopologyRow, problems: Problems) -> None:
    """What is expected is expected of hosts and sites that are there."""
    hosts = {name for segment in all_segments(topology) for name in segment.hosts}
    known = [*hosts, *(site.name for site in topology.sites if not site.mobile)]
    if "sites" in topology.broken:
        return
    for row in topology.expect:
        for end in (row.from_, row.to):
            if end is not None and end.value not in known:
                problems.add(
                    end.line, f"expectation for '{end}', which is no host or site", one_of(sorted(known), end.value)
                )
