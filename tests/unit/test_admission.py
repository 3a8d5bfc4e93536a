"""Which addresses that were overheard can be hosts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from nodes.daemon.admission import MOST_HOSTS_OF_A_MAC, Admission
from nodes.lisp.config import DynamicEid
from nodes.lisp.eid import EidPrefix, host_prefix
from nodes.lisp.eid_table import EidTable
from tests.unit.data_path import tables

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


def admission(permitted: str, *subnets: str) -> tuple[Admission, list[tuple[str, dict[str, Any]]]]:
    """Who is admitted inside a prefix, behind interfaces with these subnets; and what is reported."""
    table: EidTable[DynamicEid] = EidTable()
    prefix = EidPrefix.of(permitted)
    table.set(prefix, DynamicEid(prefix, (), routers=frozenset({ip_address("11.11.11.253")})))
    made, reports = tables(), list[tuple[str, dict[str, Any]]]()
    for subnet in subnets:
        made.native.set(EidPrefix.of(subnet), True)
        for half in EidPrefix.of(subnet).network.subnets():
            made.native.set(EidPrefix(half), False)
    return Admission(made, table, lambda event, fields: reports.append((event, fields))), reports


@pytest.mark.parametrize(
    ("permitted", "subnets", "eid", "admitted"),
    [
        ("11.11.11.0/24", ["11.11.11.0/24"], "11.11.11.11", True),
        ("11.11.11.0/24", ["11.11.11.0/24"], "11.11.11.0", False),
        ("11.11.11.0/24", ["11.11.11.0/24"], "11.11.11.255", False),
        ("11.11.11.0/24", ["11.11.11.0/24"], "11.11.11.128", True),  # the Null0 route of a half is no subnet
        ("11.11.11.0/24", ["11.11.11.0/24"], "11.11.12.1", False),
        ("11.11.11.0/24", ["11.11.11.0/24"], "11.11.11.253", False),  # another site's gateway
        ("11.11.11.0/24", [], "11.11.11.0", False),
        ("11.11.0.0/16", ["11.11.11.0/24"], "11.11.11.0", False),
        ("11.11.0.0/16", ["11.11.11.0/24"], "11.11.0.0", False),
        ("11.11.0.0/16", ["11.11.11.0/24"], "11.11.255.255", False),
        ("11.11.11.128/25", ["11.11.11.0/24"], "11.11.11.128", True),
        ("11.11.11.128/25", ["11.11.11.0/24"], "11.11.11.255", False),
        ("11.11.11.4/31", ["11.11.11.4/31"], "11.11.11.4", True),
        ("2001:db8:11::/64", ["2001:db8:11::/64"], "2001:db8:11::", False),
        ("2001:db8:11::/64", ["2001:db8:11::/64"], "2001:db8:11::1", True),
        ("2001:db8:11::/64", ["2001:db8:11::/64"], "2001:db8:11::ffff:ffff:ffff:ffff", True),  # no broadcast
        ("2001:db8:11::/127", ["2001:db8:11::/127"], "2001:db8:11::", True),
    ],
)
def test_what_can_be_a_host(permitted: str, subnets: list[str], eid: str, admitted: bool) -> None:
    """X02: inside a permitted prefix, and not the address of a subnet or of everybody in it."""
    assert admission(permitted, *subnets)[0].admits(host_prefix(eid), MAC) is admitted


def take(one: Admission, eid: EidPrefix, mac: str = MAC) -> bool:
    """What the daemon does with a host that showed itself."""
    admitted = one.admits(eid, mac)
    if admitted:
        one.took(eid, mac)
    return admitted


def test_a_mac_address_has_so_many_hosts() -> None:
    """X02: the flood of one station costs others nothing, and is told once."""
    one, reports = admission("11.11.0.0/16")
    flood = [host_prefix(f"11.11.1.{last}") for last in range(1, 201)]
    assert [take(one, eid) for eid in flood] == [True] * MOST_HOSTS_OF_A_MAC + [False] * (200 - MOST_HOSTS_OF_A_MAC)
    assert [event for event, _ in reports] == ["too-many-hosts-of-a-mac"]
    assert all(take(one, eid) for eid in flood[:MOST_HOSTS_OF_A_MAC])
    assert take(one, host_prefix("11.11.2.1"), OTHER)


def test_room_comes_back_with_a_host_that_is_gone_or_has_another_mac_address() -> None:
    """X02: the share counts the hosts that are there."""
    one, reports = admission("11.11.0.0/16")
    hosts = [host_prefix(f"11.11.1.{last}") for last in range(1, MOST_HOSTS_OF_A_MAC + 3)]
    for eid in hosts[:MOST_HOSTS_OF_A_MAC]:
        take(one, eid)
    one.forget(hosts[0])
    assert take(one, hosts[-1])
    assert not take(one, hosts[-2])
    assert take(one, hosts[1], OTHER)
    assert take(one, hosts[-2])
    assert not take(one, hosts[1], MAC)
    assert len(reports) == 2
