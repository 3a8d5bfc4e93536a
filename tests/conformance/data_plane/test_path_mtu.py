"""What an ITR learns of the path to an RLOC from ICMP errors about its own packets (RFC 9300 section 7.2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.data_plane.pair import OVERHEAD, Pair
from tests.conformance.data_plane.test_sizes import inner, sized, told, whole
from tests.conformance.tester.waiting import eventually

NARROW = 1400


@pytest.fixture(scope="module")
def narrow(boot: Callable[..., Lab], dataplane: str) -> Lab:
    """A lab of its own, for what its routers learn they remember: core2 and core3 are joined by a narrower link."""
    lab = boot("families", dataplane=dataplane)
    for outer in (4, 6):
        Pair(lab, dataplane, 4, outer).warm()
    for node, link in (("core2", "core3"), ("core3", "core2")):
        assert lab.run(node, ["ip", "link", "set", link, "mtu", str(NARROW)]).returncode == 0
    return lab


def learned(pair: Pair) -> bool:
    """Whether the near router knows the path's MTU, as it says."""
    rows = pair.lab.show(pair.itr, "locators")
    return any(row["rloc"] == str(pair.rloc(pair.etr)) and row["path_mtu"] == NARROW for row in rows)


def teach(pair: Pair) -> None:
    """Send a large packet, unless the near router has had its lesson from another pair."""
    if not learned(pair):
        with pair.watch(pair.there) as seen:
            pair.leave(sized(pair, pair.most, "lost"))
            eventually(lambda: learned(pair), "the router has learned the path's MTU")
            assert seen.texts(pair.there) == []


@pytest.mark.requirement("D19")
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner_version", [4, 6])
def test_the_path_is_narrower_than_the_core(narrow: Lab, dataplane: str, outer: int, inner_version: int) -> None:
    """One large packet is lost; then hosts are told, or their packets cut; what fits goes on."""
    pair, fits = Pair(narrow, dataplane, inner_version, outer), NARROW - OVERHEAD[outer]
    teach(pair)
    with pair.watch("core1", pair.there, pair.here) as seen, pair.fast(pair.itr, "encapsulated", 10):
        pair.leave(sized(pair, fits + 1, "refused"), *(sized(pair, fits - less, f"fits {less}") for less in range(10)))
        errors = seen.until(told(pair, seen), "the host is told")
        assert [mtu for mtu, _ in errors] == [fits]
        seen.until(lambda: len(seen.texts(pair.there)) == 10, "what fits at the host")
        assert all(one.startswith("fits") for one in seen.texts(pair.there))


@pytest.mark.requirement("D17", "D19")
@pytest.mark.parametrize("outer", [4, 6])
def test_what_may_be_cut_is_cut_to_the_path(narrow: Lab, dataplane: str, outer: int) -> None:
    """Before encapsulation, each piece in a LISP packet that fits."""
    pair = Pair(narrow, dataplane, 4, outer)
    narrower = False
    with clause("D19"):
        teach(pair)
        narrower = learned(pair)
    if not narrower:  # nothing that has to be cut
        return
    with pair.watch("core1", exact=True) as seen:
        pair.leave(sized(pair, 1440, "cut", fragment=0))
        outers = []
        with clause("D17"):
            outers = seen.until(lambda: whole(seen.packets("core1", pair.itr), [1440]), "the pieces")
            assert not [one for one in outers if one.is_fragment]
            assert {inner(one).word(4) for one in outers} == {1440}
    with clause("D19"):
        assert max((one.length for one in outers), default=0) <= NARROW
