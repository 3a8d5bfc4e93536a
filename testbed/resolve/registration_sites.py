"""The sites as a Map-Server knows them (RFC 9301 section 8.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nodes.lisp.config import Key, RegistrationSite, SitePrefix
from nodes.lisp.eid import EidPrefix
from testbed.address import Plan
from testbed.language.segments import segments
from testbed.language.tables import SiteRow


def registration_sites(
    sites: Sequence[SiteRow], plan: Plan, keys_of: Callable[[SiteRow], Sequence[Key]]
) -> tuple[RegistrationSite, ...]:
    """One for each site; sites that share a dynamic prefix are one, since a host of it may be at either.

    Args:
        sites: The sites that register here.
        plan: Every address.
        keys_of: The keys of a site.
    """
    found = []
    for group in _groups(sites, plan):
        keys = dict.fromkeys(key for site in group for key in keys_of(site))
        prefixes = dict.fromkeys(one for site in group for one in _prefixes(site, plan))
        found.append(RegistrationSite("+".join(site.name for site in group), tuple(keys), tuple(prefixes)))
    return tuple(found)


def _prefixes(site: SiteRow, plan: Plan) -> list[SitePrefix]:
    specifics = site.accept_more_specifics.value if site.accept_more_specifics else False
    found = []
    for segment in segments(site):
        planned = plan.segments[segment.key]
        found += [
            SitePrefix(EidPrefix(one, segment.instance_id), specifics or one in planned.dynamic_eids)
            for one in dict.fromkeys((*planned.eid_prefixes, *planned.dynamic_eids))
        ]
    return found


def _groups(sites: Sequence[SiteRow], plan: Plan) -> list[list[SiteRow]]:
    """The sites, those together that share a dynamic prefix, if only by way of a third."""
    groups: list[tuple[set[EidPrefix], list[SiteRow]]] = []
    for site in sites:
        prefixes, members = _dynamic(site, plan), [site]
        apart = []
        for group in groups:
            if group[0] & prefixes:
                prefixes, members = prefixes | group[0], group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (prefixes, members)]
    return [members for _, members in groups]


def _dynamic(site: SiteRow, plan: Plan) -> set[EidPrefix]:
    return {
        EidPrefix(one, segment.instance_id)
        for segment in segments(site)
        for one in plan.segments[segment.key].dynamic_eids
    }
