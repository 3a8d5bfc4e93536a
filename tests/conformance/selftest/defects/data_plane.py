"""LISP data packets (rows D)."""

from __future__ import annotations

from tests.conformance.selftest.defect import Defect, Edit, OnLink

_PATH = "nodes/dataplane/"
_BPF = "nodes/dataplane/bpf/"

DEFECTS = (
    Defect(
        "D02",
        "all packets leave from one source port",
        (
            Edit(f"{_PATH}decision.py", "_DYNAMIC_PORTS | flow & _PORT_MASK", "_DYNAMIC_PORTS"),
            Edit(f"{_BPF}flow.h", "(0xC000 | (hash & 0x3FFF))", "(0xC000 | (hash & 0))"),
        ),
    ),
    Defect(
        "D06",
        "a packet with both N and V is dropped",
        (
            Edit(
                f"{_PATH}inbound.py",
                "if length <= LISP_HEADER:",
                "if length <= LISP_HEADER or flags & 0x90 == 0x90:",
            ),
        ),
        data_path="python",
    ),
    Defect(
        "D07",
        "a packet with E and without N is dropped",
        (
            Edit(
                f"{_PATH}inbound.py",
                "if length <= LISP_HEADER:",
                "if length <= LISP_HEADER or flags & 0xA0 == 0x20:",
            ),
        ),
        data_path="python",
    ),
    Defect(
        "D08",
        "a reserved bit of the LISP header is 1",
        (OnLink("udp dport 4341 @th,64,8 set @th,64,8 | 0x04"),),
    ),
    Defect(
        "D09",
        "the Locator-Status-Bit of an RLOC whose link is down stays 1",
        (Edit(f"{_PATH}status_bits.py", "if rloc not in down)", "if rloc)"),),
    ),
    Defect(
        "D10",
        "Locator-Status-Bits are sent unasked",
        (Edit(f"{_PATH}status_bits.py", "if config.locator_status_bits:", "if config.database:"),),
        roles=("itr",),
    ),
    Defect(
        "D12",
        "the DSCP that a packet got on its way does not reach the host",
        (
            Edit(
                f"{_PATH}encapsulation.py",
                "return None if ecn == _ECN_DROP else outer & 0xFC | ecn",
                "return None if ecn == _ECN_DROP else inner & 0xFC | ecn",
            ),
            Edit(
                f"{_BPF}decapsulate.h",
                "arrived->tos = (arrived->outer.tos & 0xFC) | inside;",
                "arrived->tos = (arrived->inner.tos & 0xFC) | inside;",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "D13",
        "congestion met in the core is not told to the host",
        (
            Edit(f"{_PATH}encapsulation.py", "ect0: (ect0, ect1, ect0, ce),", "ect0: (ect0, ect1, ect0, ect0),"),
            Edit(
                f"{_BPF}decapsulate.h",
                "if (outside == CE || (outside == ECT1 && inside == ECT0))",
                "if ((outside == CE && inside != ECT0) || (outside == ECT1 && inside == ECT0))",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "D14",
        "an RTR forgets congestion that was met before it",
        (
            Edit(f"{_PATH}encapsulation.py", "ect0: (ect0, ect1, ect0, ce),", "ect0: (ect0, ect1, ect0, ect0),"),
            Edit(
                f"{_BPF}decapsulate.h",
                "if (outside == CE || (outside == ECT1 && inside == ECT0))",
                "if ((outside == CE && inside != ECT0) || (outside == ECT1 && inside == ECT0))",
            ),
        ),
        roles=("rtr",),
    ),
    Defect(
        "D16",
        "hosts are told a size that is four bytes too small",
        (
            Edit(
                f"{_PATH}decision.py",
                'return Drop("too big", Unreachable.TOO_BIG, mtu)',
                'return Drop("too big", Unreachable.TOO_BIG, mtu if tables.path_mtu else mtu - 4)',
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "D17",
        "what may be fragmented is refused like what may not",
        (
            Edit(
                f"{_PATH}decision.py",
                "if packet.length > mtu and packet.dont_fragment:",
                "if packet.length > mtu:",
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "D18",
        "the outer IPv4 header allows fragmentation",
        (OnLink("udp dport 4341 ip length < 1000 ip frag-off set 0"),),
    ),
    Defect(
        "D19",
        "what ICMP errors say of a path's MTU is ignored",
        (
            Edit(
                "nodes/lisp/engine/path_mtus.py",
                "if not config.path_mtu_discovery:",
                "if True:",
            ),
        ),
    ),
    Defect(
        "D20",
        "a packet of an instance that the router does not have is delivered in instance 0",
        (
            Edit(
                f"{_PATH}inbound.py",
                "start = LISP_HEADER\n",
                "instance_id = instance_id if instance_id in self._tuns else 0\n        start = LISP_HEADER\n",
            ),
        ),
        data_path="python",
    ),
    Defect(
        "D21",
        "weights are ignored",
        (
            Edit(f"{_PATH}decision.py", "if not any(weights):", "if weights:"),
            Edit(f"{_BPF}flow.h", "return mapping->candidates[which].weight << 8 | 1;", "return 1;"),
        ),
        roles=("itr",),
    ),
    Defect(
        "D22",
        "each packet of a flow goes to a locator of its own",
        (
            Edit(
                f"{_PATH}decision.py",
                "chosen = choose(tuple(reachable), flow)",
                "chosen = choose(tuple(reachable), int.from_bytes(__import__('os').urandom(4)))",
            ),
            Edit(f"{_PATH}outbound.py", "self._flows[key] = flow\n", "\n"),
        ),
        roles=("itr",),
        data_path="python",
    ),
    Defect(
        "D23",
        "a locator whose R-bit is 0 is used",
        (
            Edit(
                "nodes/lisp/locators.py",
                "if hop is None or not one.reachable or one.priority == UNUSED_PRIORITY:",
                "if hop is None or one.priority == UNUSED_PRIORITY:",
            ),
        ),
        roles=("itr",),
    ),
)
