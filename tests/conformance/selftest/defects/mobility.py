"""Hosts that move: who is told of it, and who lets go (rows X)."""

from __future__ import annotations

from tests.conformance.selftest.defect import Defect, Edit

_ENGINE = "nodes/lisp/engine/"

DEFECTS = (
    Defect(
        "X03",
        "the xTR that a host left is told of its new mapping for a minute only",
        (
            Edit(
                f"{_ENGINE}moves.py",
                "self._tell(one, [now])",
                "self._tell(one, [replace(now, ttl_minutes=1) if one in before else now])",
            ),
        ),
        roles=("map-server",),
        data_path="python",
    ),
    Defect(
        "X04",
        "the xTR that a host left does not say that its registration has ended",
        (
            Edit(
                f"{_ENGINE}handover.py",
                "yield from self._registrar.register([replace(one, ttl_minutes=0) for one in ended], now)",
                "yield from ()",
            ),
        ),
        roles=("etr",),
        data_path="python",
    ),
    Defect(
        "X05",
        "the xTR that a host left registers it again after a minute",
        (
            Edit(
                f"{_ENGINE}registrar.py",
                "in withdrawn:\n            self._take_out(chunk, prefix)",
                "in withdrawn:\n            chunk.records[prefix] = replace(chunk.records[prefix], ttl_minutes=1440)",
            ),
        ),
        roles=("etr",),
        data_path="python",
    ),
    Defect(
        "X06",
        "who still sends data to the old place is not solicited because of it",
        (
            Edit(
                f"{_ENGINE}handover.py",
                "yield from self._solicitor.solicit(record, [stray.rloc], now)",
                "yield from ()",
            ),
        ),
        roles=("etr",),
        data_path="python",
    ),
)
