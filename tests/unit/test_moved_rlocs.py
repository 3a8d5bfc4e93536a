"""What the data paths go by when a mobile node has other RLOCs (requirement S15)."""

from __future__ import annotations

from ipaddress import ip_address

from nodes.dataplane.bpf.layout import NUMBER
from nodes.dataplane.kernel import encoding
from nodes.lisp.eid import host_prefix
from tests.unit.data_path import OWN, locator
from tests.unit.test_kernel_path import FAR, SITE2, Kernel

NEW = ip_address("10.0.77.2")


def test_every_table_of_the_kernel_with_own_rlocs_follows() -> None:
    """Own RLOCs stand in four tables, and as the source of each locator; what the flows knew is forgotten."""
    kernel = Kernel()
    kernel.install(SITE2, locator(str(FAR)))
    assert kernel.locator(0).source == OWN[4]
    generation = encoding.generation(kernel.maps["settings"].entries[NUMBER.pack(0)])
    kernel.tables.own = frozenset({NEW})
    kernel.routes[FAR] = NEW
    assert {one.table for one in kernel.path.differences() or ()} >= {"own", "locators", "native", "aggregates"}
    kernel.path.moved()
    assert kernel.path.differences() == []
    assert kernel.maps["own"].entries.keys() == {encoding.rloc_key(NEW)}
    assert kernel.locator(0).source == NEW
    assert encoding.eid_key(host_prefix(OWN[4])) not in kernel.maps["native"].entries
    assert encoding.generation(kernel.maps["settings"].entries[NUMBER.pack(0)]) > generation


def test_a_move_that_the_kernel_refuses_takes_the_fast_path_out_of_use_until_all_is_written() -> None:
    kernel = Kernel(own=2)
    kernel.tables.own = frozenset({NEW, ip_address("10.0.78.2"), ip_address("10.0.79.2")})
    kernel.path.moved()
    assert not kernel.path.in_step
    assert not kernel.enabled
    kernel.tables.own = frozenset({NEW})
    kernel.now = 1.0
    kernel.path.expire()
    assert kernel.path.in_step
    assert kernel.path.differences() == []
