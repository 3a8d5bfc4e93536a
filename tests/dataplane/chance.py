"""Random packets and tables, by a seed."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from itertools import chain

from nodes.dataplane.decision import Tables
from nodes.lisp.config import Locator, Role
from nodes.lisp.effects import Forwarding, ForwardingEntry
from nodes.lisp.eid import EidPrefix, IPAddress
from tests.unit.data_path import OWN, ip_packet, tables

PROTOCOLS = (1, 6, 17, 33, 44, 47, 58, 132, 136)
_V4_FRAGMENTS = (0, 0, 0, 0x4000, 0x4000, 0x2000, 0x2001, 0x00B9)
_ODD = {
    4: ("224.0.0.5", "255.255.255.255", "127.0.0.1", "169.254.3.4", "0.0.0.0"),
    6: ("ff02::5", "fe80::7", "::1", "::"),
}


def eid(chance: random.Random, version: int, sites: int = 4) -> str:
    """An address of a few sites, so that prefixes are hit."""
    site = chance.randrange(1, sites)
    if version == 4:
        return f"192.168.{site}.{chance.randrange(1, 250)}"
    return f"2001:db8:{site}::{chance.randrange(1, 9):x}:{chance.randrange(1, 0xFFFF):x}"


def anywhere(chance: random.Random, version: int) -> str:
    """Mostly EIDs, the router's own among them; else what is none, and now and then what nobody routes."""
    kind = chance.random()
    if kind < 0.8:
        return eid(chance, version)
    if kind < 0.9:
        return chance.choice(_ODD[version])
    if version == 4:
        return chance.choice(("203.0.113.9", "10.0.2.1", str(OWN[4]), "172.16.1.1"))
    return chance.choice(("2001:dead::9", "2001:db8:0:2::1", str(OWN[6]), "2620::1"))


def packet(chance: random.Random, version: int, source: str | None = None) -> bytes:
    """A correct packet with whatever in its header; it may have IPv4 options."""
    of_host = eid(chance, version, 2) if chance.random() < 0.8 else anywhere(chance, version)
    length = chance.choice((0, 1, 3, 4, 8, 64, chance.randrange(1400), *range(1380, 1481, 5)))
    return ip_packet(
        source or of_host,
        anywhere(chance, version),
        chance.choice(PROTOCOLS),
        chance.randbytes(length),
        tos=chance.randrange(256),
        ttl=chance.choice((0, 1, 2, 3, 33, 64, 128, 255)),
        fragment=chance.choice(_V4_FRAGMENTS),
        options=bytes(4) if version == 4 and chance.random() < 0.05 else b"",
    )


def _prefix(chance: random.Random, version: int, instance_id: int) -> EidPrefix:
    length = chance.choice((16, 23, 25, 26, 28, 30, 32) if version == 4 else (48, 62, 96, 109, 110, 112, 128))
    return EidPrefix(ip_network(f"{eid(chance, version)}/{length}", strict=False), instance_id)


def _locators(chance: random.Random) -> tuple[Locator, ...]:
    pool = [f"10.0.{n}.1" for n in range(2, 12)] + [f"2001:db8:0:{n:x}::1" for n in range(2, 12)]
    addresses = sorted(map(ip_address, chance.sample(pool, chance.randrange(1, 7))), key=lambda one: (one.version, one))
    some_weight = chance.random() < 0.8
    weights = [chance.choice((0, 1, 10, 100, 255)) if some_weight else 0 for _ in addresses]
    return tuple(Locator(one, chance.randrange(1, 4), weight) for one, weight in zip(addresses, weights, strict=True))


def some_tables(chance: random.Random, roles: frozenset[Role], instance_id: int = 0) -> Tables:
    """The tables of a node at work: mappings, native routes, locators that are down or on a narrow path."""
    petrs = tuple(str(one.address) for one in _locators(chance)) if chance.random() < 0.5 else ()
    made = tables(roles, petrs, instance_id)
    actions = [*[Forwarding.ENCAPSULATE] * 5, *Forwarding]
    for version in (4, 6):
        sites = [
            EidPrefix.of(f"192.168.{n}.0/24" if version == 4 else f"2001:db8:{n}::/64", instance_id)
            for n in range(1, 4)
        ]
        chosen = [(one, Forwarding.ENCAPSULATE) for one in sites]
        chosen += [(_prefix(chance, version, instance_id), chance.choice(actions)) for _ in range(12)]
        for prefix, action in chosen:
            locators = _locators(chance) if action is Forwarding.ENCAPSULATE else ()
            made.map_cache.set(prefix, ForwardingEntry(prefix, action, locators, "no-action"))
        for _ in range(3):
            made.native.set(_prefix(chance, version, instance_id), chance.random() < 0.3)
    known = {one.address for _, entry in made.map_cache.items() for one in chain(entry.locators, made.petrs)}
    for rloc in sorted(known, key=str):
        if chance.random() < 0.2:
            made.down.add(rloc)
        if chance.random() < 0.2:
            made.path_mtu[rloc] = chance.choice((1280, 1400, 1450))
    return made


def routes(chance: random.Random) -> dict[IPAddress, IPAddress | None]:
    """The RLOCs to which there is no route."""
    return {ip_address(f"10.0.{n}.1"): None for n in range(2, 12) if chance.random() < 0.1}
