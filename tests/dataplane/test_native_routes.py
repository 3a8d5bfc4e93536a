"""The tables of native routes, in a namespace of their own (requirements S02 and X08)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from nodes.daemon.native_routes import NATIVE_TABLES, NativeRoutes
from nodes.linux import links, routes
from nodes.linux.links import VethEnd
from nodes.linux.namespaces import inside, scratch_network
from nodes.linux.netlink import Connection
from nodes.lisp.eid import EidPrefix, host_prefix

SUBNETS = {4: "11.11.11.0/24", 6: "2001:db8:11::/64"}
GATEWAYS = {4: "11.11.11.254/24", 6: "2001:db8:11::fe/64"}
HOSTS = {4: "11.11.11.11", 6: "2001:db8:11::11"}
AWAY = {4: "11.11.11.12", 6: "2001:db8:11::12"}
HALVES = {4: ("11.11.11.0/25", "11.11.11.128/25"), 6: ("2001:db8:11::/65", "2001:db8:11:0:8000::/65")}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def kernel() -> Iterator[tuple[Connection, int]]:
    """A namespace with a site interface, and the index of that."""
    with (
        scratch_network() as namespace,
        scratch_network() as outside,
        Connection(namespace) as made,
        inside(namespace),
    ):
        links.add_veth(made, VethEnd("site", None), VethEnd("host", outside))
        for address in GATEWAYS.values():
            subprocess.run(["ip", "address", "add", address, "dev", "site"], check=True)
        yield made, links.index_of(made, "site")


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_no_copy_stays_whatever_else_changes(kernel: tuple[Connection, int], version: int) -> None:
    """X08, X10: two Null0 routes, the route of a host that was found, and a Null0 route for one that is away."""
    made, site = kernel
    dynamic = [EidPrefix.of(one) for one in SUBNETS.values()]
    native = NativeRoutes(made, frozenset({4, 6}), {site: 0}, dynamic)
    try:
        native.mirror()
        host, away = host_prefix(HOSTS[version]), host_prefix(AWAY[version])
        native.add_host(host, site)
        native.except_host(away)

        def there() -> dict[str, str]:
            found = routes.list_routes(made, version, NATIVE_TABLES)
            return {str(one.prefix): one.type.name for one in found}

        wanted = {**dict.fromkeys(HALVES[version], "THROW"), str(host): "UNICAST", str(away): "THROW"}
        wanted[SUBNETS[version]] = "UNICAST"
        for _ in range(4):
            assert wanted.items() <= there().items()
            table, refused = native.mirror()
            assert not refused
            assert {str(one): bool(table.get(EidPrefix.of(one))) for one in wanted} == {
                one: kind == "UNICAST" for one, kind in wanted.items()
            }
        native.remove_host(host)
        native.remove_host(away)
        native.mirror()
        assert not {str(host), str(away)} & there().keys()
    finally:
        native.close()
