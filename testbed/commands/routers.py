"""What a LISP router knows, and what it is told: show, lig, locator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_network

from nodes.lisp.config import Role
from testbed.lab import InputError, Lab
from testbed.words import echoed, one_of

_TUNNELS = frozenset((Role.ITR, Role.PITR, Role.RTR))
SHOWN: Mapping[str, frozenset[Role]] = {
    "map-cache": _TUNNELS,
    "locators": _TUNNELS,
    "contacts": _TUNNELS | {Role.ETR, Role.PETR},
    "database": frozenset((Role.ETR,)),
    "registrations": frozenset((Role.MAP_SERVER,)),
    "dynamic-eids": frozenset((Role.ETR,)),
    "subscriptions": _TUNNELS | {Role.MAP_SERVER},
    "roles": frozenset(Role),
    "statistics": frozenset(Role),
    "interfaces": frozenset(Role),
}
"""What `show` shows, and which roles have it."""


def show(lab: str | None, node: str, what: str, *, as_json: bool = False) -> None:
    """Show a table of a LISP node."""
    if what not in SHOWN:
        raise InputError(f"nothing is called {echoed(what)}, {one_of(SHOWN, what)}")
    data = _lab_where(lab, node, what).show(node, what)
    if as_json:
        print(json.dumps(data, indent=1))
        return
    from testbed.observe.tables import draw, facts, table

    title = f"{node}: {what}"
    if isinstance(data, list):
        draw(table(what, data), title)
    else:
        draw(facts(data), title)


def _lab_where(lab: str | None, node: str, what: str) -> Lab:
    """The lab, where a node's roles have a table.

    Raises:
        InputError: They have none of that kind: it would be empty whatever happened.
    """
    running = Lab.attach(lab)
    lisp = running[node].lisp
    if lisp is not None and not lisp.roles & SHOWN[what]:
        roles = ", ".join(role for role in Role if role in lisp.roles)
        others = [one.name for one in running.topology.lisp_routers if one.lisp and one.lisp.roles & SHOWN[what]]
        raise InputError(f"{node} ({roles}) has no {what}; {one_of(others, '', 'nodes that have them')}")
    return running


def verify(lab: str | None, node: str, what: str, *, as_json: bool = False) -> int:
    """Compare the kernel's maps of a node with its engine's view; returns 1 where they differ, else 0."""
    if what != "map-cache":
        raise InputError(f"--verify is for the map-cache, not for {echoed(what)}")
    found = _lab_where(lab, node, what).verify(node)
    if as_json:
        print(json.dumps(found, indent=1))
    elif found["runs"] != "ebpf":
        print(f"{node}: nothing to compare: the data plane is {found['runs']} ({found['why']})")
    elif found["rows"]:
        from testbed.observe.tables import draw, table

        draw(table("verify", found["rows"]), f"{node}: the kernel's maps differ from the engine's view")
    else:
        print(f"{node}: the kernel's maps say what the engine says")
    return 1 if found["rows"] else 0


def lig(lab: str | None, node: str, eid: str, *, instance_id: int = 0, as_json: bool = False) -> None:
    """Ask the mapping system for an EID from a node, and show the reply (RFC 6835)."""
    try:
        ip_network(eid)
    except ValueError:
        raise InputError(f"{echoed(eid)} is not an EID, allowed is an IPv4 or IPv6 address or prefix") from None
    running = Lab.attach(lab)
    lisp = running[node].lisp
    if lisp is not None and not lisp.map_resolvers:
        asking = [one.name for one in running.topology.lisp_routers if one.lisp and one.lisp.map_resolvers]
        raise InputError(f"{node} has no Map-Resolver to ask; {one_of(asking, '', 'nodes that have one')}")
    answer = running.lig(node, eid, instance_id)
    if as_json:
        print(json.dumps(answer, indent=1))
        return
    from testbed.observe.tables import draw, table

    title = f"{node}: Map-Reply from {answer['replier']} in {answer['rtt_ms']:.1f} ms"
    draw(table("lig", answer["records"]), title)


def key(lab: str | None, node: str, key_id: int) -> None:
    """Have an ETR register with another of its site's keys while the lab runs."""
    answer = Lab.attach(lab).change_key(node, key_id)
    print(f"{node}: registers with key {answer['key_id']} at {', '.join(answer['map_servers'])}")


def locator(
    lab: str | None,
    node: str,
    eid: str,
    rloc: str,
    *,
    priority: int | None,
    weight: int | None,
    instance_id: int = 0,
    as_json: bool = False,
) -> None:
    """Change the priority or weight of one of a site's RLOCs while the lab runs."""
    if priority is None and weight is None:
        raise InputError("say what is to change: --priority, --weight or both")
    answer = Lab.attach(lab).set_locator(node, eid, rloc, priority, weight, instance_id)
    if as_json:
        print(json.dumps(answer, indent=1))
        return
    from testbed.observe.tables import draw, table

    told = ", ".join(answer["peers"]) or "nobody"
    draw(table("locator", [answer]), f"{node}: asked to ask again: {told}")
