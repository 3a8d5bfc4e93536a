"""Locator-Status-Bits on transmit (requirements D09, D10), and what is heard of those of others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodes.dataplane.decision import Encapsulate, Tables, decide_outbound
from nodes.dataplane.encapsulation import header_writer
from nodes.dataplane.status_bits import HeardBits, status_bits
from nodes.lisp.config import DatabaseMapping, DynamicEid, Locator, NodeConfig, Role
from nodes.lisp.effects import Forwarding
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.inputs import StatusBits
from nodes.lisp.wire.data_header import DataHeader
from tests.unit.data_path import by_family, install, locator, packet

RLOCS = [ip_address(text) for text in ("2001:db8::2", "10.0.9.1", "10.0.1.1")]
"""In the order of the wire: the third, the second, the first."""
SITE, MOBILE = EidPrefix.of("192.168.1.0/24", 7), EidPrefix.of("192.168.1.64/26", 7)


def made(instance_id: int, on: bool = True) -> Tables:
    site, mobile = (replace(one, instance_id=instance_id) for one in (SITE, MOBILE))
    config = NodeConfig(
        "xtr",
        frozenset({Role.ITR}),
        (RLOCS[2],),
        database=(DatabaseMapping(site, tuple(Locator(one) for one in RLOCS)),),
        dynamic_eids=(DynamicEid(mobile, (Locator(RLOCS[1]),)),),
        map_resolvers=(RLOCS[2],),
        locator_status_bits=on,
    )
    tables = Tables.of(config)
    install(tables, "192.168.2.0/24", Forwarding.ENCAPSULATE, locator("10.0.2.1"), instance_id=instance_id)
    return tables


def header(tables: Tables, instance_id: int, source: str = "192.168.1.11") -> DataHeader:
    verdict = decide_outbound(packet(source, "192.168.2.22"), tables, by_family, instance_id)
    assert isinstance(verdict, Encapsulate)
    return DataHeader.decode(header_writer(verdict)(0, 64, 100)[-8:])


@pytest.mark.parametrize("instance_id", [0, 7])
def test_bit_n_is_the_nth_locator(instance_id: int) -> None:
    """D09: sorted as in a Map-Reply, IPv4 before IPv6; a bit clears when its RLOC is down, and comes back."""
    tables = made(instance_id)
    assert header(tables, instance_id) == DataHeader(instance_id=instance_id or None, locator_status_bits=0b111)
    for ordinal, rloc in enumerate(reversed(RLOCS)):
        tables.down = {rloc}
        assert header(tables, instance_id).locator_status_bits == 0b111 & ~(1 << ordinal)
    tables.down = set(RLOCS)
    assert header(tables, instance_id).locator_status_bits == 0
    assert header(tables, instance_id).instance_id == (instance_id or None)
    tables.down = set()
    assert header(tables, instance_id, "192.168.1.70").locator_status_bits == 0b1, "a host's own locator-set"


def test_they_are_off_by_default() -> None:
    """D10."""
    assert header(made(7, on=False), 7) == DataHeader(instance_id=7)


def test_there_are_as_many_as_fit() -> None:
    """D09: 32 of them, 8 beside an instance-ID."""
    many = [ip_address(f"10.0.0.{n}") for n in range(40)]
    assert status_bits(many, (), 0) == 2**32 - 1
    assert status_bits(many, (many[31], many[39]), 0) == 2**31 - 1
    assert status_bits(many, (many[7], many[8]), 5) == 0b0111_1111


def test_each_change_is_told_once_and_what_is_too_much_later() -> None:
    """Whoever forges ever new sources fills nothing."""
    heard = HeardBits(most=8, most_new=4)

    def told(last: int, bits: int) -> StatusBits:
        return StatusBits(host_prefix(f"192.168.2.{last}"), RLOCS[1], bits)

    for bits in (3, 3, 1, 1, 3):
        heard.note(told(1, bits))
    assert heard.take() == [told(1, 3), told(1, 1), told(1, 3)]
    assert heard.take() == []
    for last in range(10):
        heard.note(told(last, 1))
    assert len(heard.take()) == 4
    for last in range(10):
        heard.note(told(last, 1))
    assert len(heard.take()) == 4, "those that did not fit"
