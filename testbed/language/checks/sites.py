"""A LISP site can tunnel and register, a non-LISP site has nothing of LISP, and hosts hang on something."""

from __future__ import annotations

from collections import Counter

from nodes.lisp.config import Role
from testbed.language.prefixes import Claim, inside, overlaps
from testbed.language.problems import Problems
from testbed.language.segments import Segment, is_lisp, roles_of, segments
from testbed.language.tables import DEFAULT_KEY_ID, SiteRow
from testbed.words import counted, one_of


def check_site(site: SiteRow, problems: Problems) -> None:
    """Note what is wrong with one site."""
    name = site.label
    if is_lisp(site):
        _lisp_site(site, name, problems)
        if site.tenants:
            _tenants(site, name, problems)
    else:
        _plain_site(site, name, problems)
    for segment in segments(site):
        _segment(segment, problems)
    if is_lisp(site):
        _group(site, name, problems)


def _lisp_site(site: SiteRow, name: str, problems: Problems) -> None:
    if site.key is None and "key" not in site.broken:
        problems.add(site.line, f"{name} has no key", "needed: the secret shared with the Map-Servers, or lisp: false")
    _other_keys(site, name, problems)
    if site.routers and not any(
        "roles" in one.broken or roles_of(one, "xtr") & {Role.ITR, Role.ETR} for one in site.routers
    ):
        problems.add(site.line, f"{name} has no xTR", "needed: a router with the role xtr, itr or etr, or lisp: false")
    for key, said in (
        ("nbr-proxy-reply", site.nbr_proxy_reply),
        ("host-silence", site.host_silence),
        ("host-probes", site.host_probes),
    ):
        if said and not any(one.row.dynamic_eids for one in segments(site)) and not site.broken:
            what = f"{key} of {name}, which has no dynamic-eids"
            problems.add(said.line, what, f"allowed is {key} beside dynamic-eids")


def _other_keys(site: SiteRow, name: str, problems: Problems) -> None:
    """RFC 9301 section 5.6: the Key ID says which secret it is."""
    rows = [site.key, *site.other_keys]
    taken: dict[int, int] = {}
    for row in rows:
        if row is None or "id" in row.broken:
            continue
        number, line = (row.id.value, row.id.line) if row.id else (DEFAULT_KEY_ID, row.line)
        if number in taken:
            what = f"key id {number} of {name} is that of another of its keys"
            problems.add(line, what, f"allowed is an id of its own for each key (line {taken[number]})")
        taken.setdefault(number, line)


def _segment(segment: Segment, problems: Problems) -> None:
    """The subnets, ports, hosts and fabric of a site or tenant."""
    row = segment.row
    if is_lisp(segment.site):
        for subnet in row.subnets:
            prefixes = [one.value for one in (*row.eid_prefixes, *row.dynamic_eids)]
            if prefixes and not row.broken & {"eid_prefixes", "dynamic_eids"} and not inside(subnet.value, prefixes):
                listed = ", ".join(map(str, prefixes))
                what = f"subnet {subnet} of {segment.label} has no EIDs"
                problems.add(subnet.line, what, f"allowed are subnets of {listed}")
        for later, earlier in overlaps(Claim(one.value, segment.label, one.line) for one in row.subnets):
            what = f"subnet {later.network} of {segment.label} overlaps {earlier.network}"
            problems.add(later.line, what, f"allowed are subnets that share no address (line {earlier.line})")
    for host in row.hosts:
        for key, given in (("address", host.address), ("gateway", host.gateway)):
            count = Counter(at.value.version for at in given)
            for at in given:
                if count[at.value.version] > 1:
                    what = f"{key} of host {host.name}: several IPv{at.value.version} addresses"
                    problems.add(at.line, what, "allowed is one of each IP version")
    _gateway(segment, problems)
    routers, hosts = len(segment.site.routers), len(row.hosts)
    broken = segment.site.broken | row.broken
    if max(routers, hosts) > 1 and row.fabric is None and not broken & {"fabric", "routers", "hosts"}:
        what = f"{segment.label} has {counted(routers, 'router')}, {counted(hosts, 'host')} and no fabric"
        problems.add(row.line, what, "allowed without a fabric are one host and one router")
    if row.fabric is None and routers == hosts == 1:
        port, host = segment.ports[0], row.hosts[0]
        for key in ("bandwidth", "delay", "loss", "mtu"):
            ours, theirs = getattr(port.cable, key, None), getattr(host, key)
            if ours and theirs:
                what = f"{key} of the link between {port.name} and {host.name} is given twice"
                problems.add(theirs.line, what, f"allowed is once (line {ours.line})")


def _gateway(segment: Segment, problems: Problems) -> None:
    """A gateway is one router's."""
    row, routers = segment.row, len(segment.site.routers)
    if row.gateway_mac and not row.gateway and "gateway" not in row.broken:
        what = f"gateway-mac of {segment.label}, which has no gateway"
        problems.add(row.gateway_mac.line, what, "allowed is gateway-mac beside gateway")
    site = segment.site
    if row.gateway and routers > 1 and is_lisp(site) and not site.map_notify_group and not site.broken:
        what = f"gateway of {segment.label}, which has {counted(routers, 'router')}"
        problems.add(row.gateway[0].line, what, "allowed is one router, or map-notify-group beside gateway")


def _group(site: SiteRow, name: str, problems: Problems) -> None:
    """The xTRs of a site find each other by a multicast group of an IP version that its LAN has."""
    group = site.map_notify_group
    if group is None or site.broken:
        return
    xtrs = [one for one in site.routers if roles_of(one, "xtr") & {Role.ITR, Role.ETR}]
    if len(xtrs) < 2:
        what = f"map-notify-group of {name}, which has {counted(len(xtrs), 'xTR')}"
        problems.add(group.line, what, "allowed is map-notify-group beside two xTRs or more")


def _tenants(site: SiteRow, name: str, problems: Problems) -> None:
    """A site with tenants has hosts only there, each tenant in an instance of its own."""
    for key, value in (
        ("instance-id", site.instance_id),
        ("eid-prefixes", next(iter(site.eid_prefixes), None)),
        ("dynamic-eids", next(iter(site.dynamic_eids), None)),
        ("subnets", next(iter(site.subnets), None)),
        ("gateway", next(iter(site.gateway), None)),
        ("gateway-mac", site.gateway_mac),
        ("fabric", site.fabric),
        ("hosts", next(iter(site.hosts), None)),
    ):
        if value:
            problems.add(value.line, f"{key} of {name}, which has tenants", f"allowed is {key} of one of its tenants")
    seen: dict[int, str] = {}
    names = [router.name for router in site.routers]
    for tenant in site.tenants:
        if "instance_id" not in tenant.broken:
            number = tenant.instance_id.value if tenant.instance_id else 0
            other = seen.setdefault(number, tenant.name)
            if other != tenant.name:
                what = f"tenants {other} and {tenant.name} of {name} have the same instance-ID {number}"
                problems.add(tenant.line, what, "allowed is an instance-id of its own for each tenant of a site")
        for port in tenant.routers:
            if port.name not in names and "routers" not in site.broken:
                what = f"router {port.name} of tenant {tenant.name}, which is no router of {name}"
                problems.add(port.line, what, one_of(names, port.name))


def _plain_site(site: SiteRow, name: str, problems: Problems) -> None:
    """A non-LISP site holds nothing of LISP."""
    if not site.subnets and "subnets" not in site.broken:
        problems.add(site.line, f"{name} has no subnets", "needed: the subnets of its hosts, such as 203.0.113.0/24")
    for key, value in (
        ("instance-id", site.instance_id),
        ("eid-prefixes", next(iter(site.eid_prefixes), None)),
        ("dynamic-eids", next(iter(site.dynamic_eids), None)),
        ("gateway", next(iter(site.gateway), None)),
        ("gateway-mac", site.gateway_mac),
        ("key", site.key),
        ("other-keys", next(iter(site.other_keys), None)),
        ("tenants", next(iter(site.tenants), None)),
        ("map-servers", next(iter(site.map_servers), None)),
        ("map-resolvers", next(iter(site.map_resolvers), None)),
        ("petrs", next(iter(site.petrs), None)),
        ("use-petr", site.use_petr),
        ("locators", next(iter(site.locators), None)),
        ("via", next(iter(site.via), None)),
        ("proxy-reply", site.proxy_reply),
        ("accept-more-specifics", site.accept_more_specifics),
        ("nbr-proxy-reply", site.nbr_proxy_reply),
        ("map-notify-group", site.map_notify_group),
        ("host-silence", site.host_silence),
        ("host-probes", site.host_probes),
        ("ttl-minutes", site.ttl_minutes),
    ):
        if value:
            problems.add(
                value.line, f"{key} of {name}, which is no LISP site", "allowed are subnets, routers, fabric and hosts"
            )
    for router in site.routers:
        if router.roles:
            what = f"roles of router {router.name} in {name}, which is no LISP site"
            problems.add(router.roles[0].line, what, "allowed are a router without roles, or a LISP site")
        for key, said in (
            ("dataplane", router.dataplane),
            ("implementation", router.implementation),
            ("probing", router.probing),
            ("path-mtu-discovery", router.path_mtu_discovery),
            ("locator-status-bits", router.locator_status_bits),
            ("pubsub", router.pubsub),
        ):
            if said:
                what = f"{key} of router {router.name} in {name}, which is no LISP site"
                problems.add(said.line, what, f"allowed is {key} of LISP nodes: the kernel routes here")
