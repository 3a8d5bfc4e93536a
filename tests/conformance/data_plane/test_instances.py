"""Tenants with the same addresses (RFC 9300 section 8, S13), in the world ``instances``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.lab import Lab
from tests.conformance.data_plane.conftest import PAIRS
from tests.conformance.data_plane.pair import MARK, Seen
from tests.conformance.tester import packets
from tests.conformance.tester.cable import Cable
from tests.conformance.tester.counters import by_fast_path, counting
from tests.conformance.tester.traffic import SINK

IDS = {4: {"r": 100, "b": 0xFFFFFF}, 6: {"r": 101, "b": 102}}


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab], dataplane: str) -> Lab:
    """The lab; both tenants' mappings are known."""
    started = boot("instances", dataplane=dataplane)
    for outer in (4, 6):
        for tenant in "rb":
            for version in (4, 6):
                target = str(started[f"{tenant}f{outer}"].address_of(version))
                done = started.run(f"{tenant}n{outer}", ["ping", "-n", "-c", "2", "-i", "0.05", "-W", "2", target])
                assert done.returncode == 0, done.stdout
    return started


@pytest.mark.requirement("D20", "S13")
@pytest.mark.parametrize(("inner", "outer"), PAIRS)
def test_one_address_means_each_tenants_own_host(lab: Lab, dataplane: str, inner: int, outer: int) -> None:
    """The I-bit and 24 bits of instance-ID say whose; on the fast path too, nothing leaks."""
    itr, etr = f"xn{outer}", f"xf{outer}"
    ends = [lab[f"{side}"].address_of(inner) for side in (f"rn{outer}", f"rf{outer}")]
    assert ends == [lab[f"{side}"].address_of(inner) for side in (f"bn{outer}", f"bf{outer}")]
    fast = 5 if dataplane == "ebpf" else 0
    with (
        by_fast_path(lab, itr, "encapsulated", fast),
        by_fast_path(lab, etr, "decapsulated", fast),
        Seen(lab, ["core1", f"rf{outer}", f"bf{outer}"]) as seen,
    ):
        for tenant in "rbrbb":
            with Cable(lab, f"{tenant}n{outer}", itr) as cable:
                cable.send(packets.datagram(*ends, (7777, SINK), MARK + tenant.encode()))
        for tenant, count in (("r", 2), ("b", 3)):
            host = f"{tenant}f{outer}"
            seen.until(lambda host=host, count=count: len(seen.texts(host)) == count, f"packets at {host}")
        found = {tenant: seen.texts(f"{tenant}f{outer}") for tenant in "rb"}
        headers = {one.inner.text: (one.header[0] & 0x08, one.header[4:7].hex()) for one in seen.data("core1", itr)}
    assert found == {"r": ["r"] * 2, "b": ["b"] * 3}
    assert headers == {MARK + t.encode(): (0x08, f"{number:06x}") for t, number in IDS[outer].items()}


@pytest.mark.requirement("D20")
@pytest.mark.parametrize(("inner", "outer"), PAIRS)
def test_a_packet_without_the_tenants_number_is_for_nobody(lab: Lab, inner: int, outer: int) -> None:
    """No I-bit, another instance-ID, or the number without its bit: counted, not delivered."""
    near, far = (next(r for r in lab[x].lisp.rlocs if r.version == outer) for x in (f"xn{outer}", f"xf{outer}"))  # type: ignore[union-attr]
    ends = [lab[f"r{side}{outer}"].address_of(inner) for side in "nf"]
    whole = packets.datagram(*ends, (7777, SINK), MARK + b"stray")
    number, flag = IDS[outer]["r"] << 8, 1 << 27
    strays = [packets.lisp(near, far, whole, first=a, second=b) for a, b in ((0, 0), (0, number), (flag, 77 << 8))]
    good = packets.lisp(near, far, whole, first=flag, second=number)
    with (
        counting(lab, f"xf{outer}", {"not an EID of this site": 3}),
        Seen(lab, [f"rf{outer}", f"bf{outer}"]) as seen,
        Cable(lab, "core1", f"xf{outer}") as cable,
    ):
        cable.send(*strays, good)
        seen.until(lambda: seen.texts(f"rf{outer}"), "the packet that is the tenant's")
        assert (seen.texts(f"rf{outer}"), seen.texts(f"bf{outer}")) == (["stray"], [])
