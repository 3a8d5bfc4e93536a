"""What an RTR makes of LISP packets: out of one header, into another, of the same IP version or the other one.

RFC 9300 section 5.3, RFC 6040; in the world ``families``, whose RTR is given packets that no site sends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product

import pytest

from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.data_plane.conftest import PAIRS
from tests.conformance.data_plane.pair import Pair, Seen
from tests.conformance.data_plane.test_decapsulation import ARRIVING, DROPPED
from tests.conformance.tester import packets
from tests.conformance.tester.counters import fast_packets
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.waiting import eventually
from tests.dataplane.router import OLD_KERNEL

RTR = "rtr"


@dataclass(frozen=True)
class Passage:
    """From a site over RLOCs of one IP version to the RTR, from there to another site's RLOC of version ``onward``."""

    pair: Pair
    onward: int

    @property
    def there(self) -> str:
        """The host that the packets are for."""
        return f"hf{self.onward}"

    def rloc(self, version: int) -> IPAddress:
        """The RTR's."""
        return self.pair.lab[RTR].address_of(version)

    def packet(self, text: object, outer_ttl: int = 64, outer_tos: int = 0, **inner: int) -> bytes:
        """A LISP packet to the RTR, as the near router would send it."""
        target = self.pair.lab[self.there].address_of(self.pair.inner)
        packet = self.pair.between(self.pair.source, target, text, **inner)
        ends = self.pair.rloc(self.pair.itr), self.rloc(self.pair.outer)
        return packets.lisp(*ends, packet, ttl=outer_ttl, tos=outer_tos)

    def give(self, *some: bytes) -> None:
        """Hand packets to the RTR."""
        self.pair.send("core2", RTR, *some)

    def texts(self, seen: Seen) -> set[str]:
        """What has arrived at the host."""
        return set(seen.texts(self.there))

    @contextmanager
    def carried(self, count: int, exact: bool = False) -> Iterator[Seen]:
        """What the RTR sends and the host receives meanwhile; by the fast path, so many packets."""
        with self.pair.watch("core2", self.there, exact=exact) as seen:
            # Before Linux 6.3 some of the packets that change their IP version are the daemon's.
            countable = not OLD_KERNEL or self.pair.inner == self.pair.outer == self.onward
            with self.pair.fast(RTR, "reencapsulated", count) if countable else nullcontext():
                yield seen

    def warm(self) -> None:
        """The RTR knows the mapping, and its gate is open: nothing waits in the daemon that came before it."""

        def is_fast() -> bool:
            before = fast_packets(self.pair.lab, RTR, "reencapsulated")
            with self.pair.watch(self.there) as seen:
                self.give(self.packet("warm"))
                seen.until(lambda: self.texts(seen), "the packet at the host")
            if before is None or self.pair.dataplane != "ebpf":
                return True
            return self.pair.counted(RTR, "reencapsulated") > before

        eventually(is_fast, "the fast path takes it", within=5)


@pytest.fixture(scope="module")
def met(families: Lab, dataplane: str) -> Lab:
    """The RTR has asked for every mapping: as soon as it has the answer, packets take the fast path."""
    for inner, onward in product((4, 6), repeat=2):
        passage = Passage(Pair(families, dataplane, inner, 4), onward)
        passage.give(passage.packet("first"))
    return families


@pytest.fixture(params=list(product(PAIRS, (4, 6))), ids=lambda way: "v{}-over-v{}-then-v{}".format(*way[0], way[1]))
def passage(request: pytest.FixtureRequest, met: Lab, dataplane: str) -> Passage:
    """Every combination, with the mapping known."""
    pair, onward = request.param
    one = Passage(Pair(met, dataplane, *pair), onward)
    one.warm()
    return one


@pytest.mark.order
@pytest.mark.requirement("D02", "D04", "D08", "D11", "D12", "D15", "D28")
def test_one_header_goes_and_another_comes(passage: Passage) -> None:
    """Never two; the smaller TTL falls by one, and the DSCP that was seen outside goes on, inside and outside."""
    wanted = {f"{inner}-{outer}": (inner, outer) for inner, outer in ((40, 50), (50, 40), (255, 64), (64, 255))}
    with passage.carried(len(wanted), exact=True) as seen:
        numbered = enumerate(wanted.items())
        passage.give(
            *(passage.packet(t, outer, number << 4, ttl=inner, tos=0xB8) for number, (t, (inner, outer)) in numbered)
        )
        seen.until(lambda: passage.texts(seen) == set(wanted), "the packets at the host")
        sent = seen.data("core2", RTR)
        arrived = [seen.arrived(passage.there, text) for text in wanted]
    ttls = [min(both) - 1 for both in wanted.values()]
    assert {(one.outer.source, one.outer.destination) for one in sent} == {
        (passage.rloc(passage.onward), passage.pair.lab[f"xf{passage.onward}"].address_of(passage.onward))
    }
    with clause("D11"):
        assert [(one.outer.ttl, one.inner.ttl) for one in sent] == [(ttl, ttl) for ttl in ttls]
        # Two hops of the core and the far router.
        assert [one.ttl for one in arrived if one] == [ttl - 3 for ttl in ttls]
    with clause("D12"):
        assert [(one.outer.tos, one.inner.tos) for one in sent] == [(number << 4,) * 2 for number in range(4)]
        assert [one.tos for one in arrived if one] == [number << 4 for number in range(4)]
    with clause("D04"):
        assert {one.checksum for one in sent} == {0}
    with clause("D08"):
        assert {one.header for one in sent} == {bytes(8)}
    with clause("D28"):
        assert {packets.tunnelled(one.inner) for one in sent} == {None}
    with clause("D02"):
        assert len({one.source_port for one in sent}) == 1
    assert all(one.outer.checksum_is_right and one.inner.checksum_is_right for one in sent)


@pytest.mark.requirement("D14")
def test_every_combination_of_ecn(passage: Passage) -> None:
    """One decapsulation, one encapsulation (RFC 6040): no mark is lost between two tunnels, inside or outside."""
    wanted = {f"{inner}-{outer}": ARRIVING[inner][outer] for inner, outer in product(range(4), repeat=2)}
    kept = {text: ecn for text, ecn in wanted.items() if ecn is not DROPPED}
    marked = {"congestion experienced, inner packet not ECN-capable": 1}
    with passage.pair.counting(RTR, marked), passage.carried(len(kept)) as seen:
        both = product(range(4), repeat=2)
        passage.give(*(passage.packet(f"{i}-{o}", outer_tos=0x28 | o, tos=0xB8 | i) for i, o in both))
        seen.until(lambda: len(passage.texts(seen)) == len(kept), "the packets at the host")
        ecns = [(one.inner.text, one.outer.tos & 3, one.inner.tos & 3) for one in seen.data("core2", RTR)]
        arrived = {text: one.tos & 3 for text in passage.texts(seen) if (one := seen.arrived(passage.there, text))}
    assert {text.split()[-1].decode(): both for text, *both in ecns} == {text: [ecn] * 2 for text, ecn in kept.items()}
    assert arrived == kept
