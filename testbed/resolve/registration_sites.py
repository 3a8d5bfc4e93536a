"""The sites as a Map-Server knows them (RFC 9301 section 8.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nodes.lisp.config import Key, RegistrationSite, SitePrefix
from nodes.lisp.eid import EidPrefix
from testbed.address import Plan
from testbed.language.segments import segments
from testbed.language.tables import SiteRow


def registration_sites(
    sites: Sequence[SiteRow], plan: Plan, keys_of: Callable[[SiteRow], Sequence[Key]]
) -> tuple[RegistrationSite, ...]:
    """One for each site; sites that share a dynamic prefix are one, since a host of it may be at either.

    So are a site and those that find hosts inside its EID-prefixes (requirement X10).

    Args:
        sites: The sites that register here.
        plan: Every address.
        keys_of: The keys of a site.
    """
    found = []
    for group in _groups(sites, plan):
        keys = dict.fromkeys(key for site in group for key in keys_of(site))
        prefixes: dict[EidPrefix, bool] = {}
        for one in (one for site in group for one in _prefixes(site, plan)):
            prefixes[one.prefix] = prefixes.get(one.prefix, False) or one.accept_more_specifics
        accepted = tuple(SitePrefix(prefix, specifics) for prefix, specifics in prefixes.items())
        found.append(RegistrationSite("+".join(site.name for site in group), tuple(keys), accepted))
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


def roaming(site: SiteRow, sites: Iterable[SiteRow], plan: Plan) -> tuple[EidPrefix, ...]:
    """Where other sites find hosts inside the EID-prefixes of a site, which does not find its own there one by one."""
    own, fixed = _dynamic(site, plan), _fixed(site, plan)
    others = {one for other in sites if other is not site for one in _dynamic(other, plan)}
    return tuple(
        sorted(
            (one for one in others if _inside(one, fixed) and not _inside(one, own)),
            key=lambda one: (one.version, one.instance_id, one.network),
        )
    )


def _groups(sites: Sequence[SiteRow], plan: Plan) -> list[list[SiteRow]]:
    """The sites, those together that may have the same hosts, if only by way of a third."""
    groups: list[tuple[set[EidPrefix], set[EidPrefix], list[SiteRow]]] = []
    for site in sites:
        dynamic, fixed, members = _dynamic(site, plan), _fixed(site, plan), [site]
        apart = []
        for group in groups:
            if (
                group[0] & dynamic
                or any(_inside(one, fixed) for one in group[0])
                or any(_inside(one, group[1]) for one in dynamic)
            ):
                dynamic, fixed, members = dynamic | group[0], fixed | group[1], group[2] + members
            else:
                apart.append(group)
        groups = [*apart, (dynamic, fixed, members)]
    return [members for *_, members in groups]


def _inside(prefix: EidPrefix, others: Iterable[EidPrefix]) -> bool:
    return any(one.covers(prefix) for one in others)


def _dynamic(site: SiteRow, plan: Plan) -> set[EidPrefix]:
    return {
        EidPrefix(one, segment.instance_id)
        for segment in segments(site)
        for one in plan.segments[segment.key].dynamic_eids
    }


def _fixed(site: SiteRow, plan: Plan) -> set[EidPrefix]:
    return {
        EidPrefix(one, segment.instance_id)
        for segment in segments(site)
        for one in plan.segments[segment.key].eid_prefixes
    }
