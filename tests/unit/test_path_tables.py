"""Tables of the data path, as they are shown."""

from __future__ import annotations

from ipaddress import ip_address
from typing import cast

from nodes.daemon.path_tables import contact_rows
from nodes.dataplane.path import DataPath


class Uses:
    """A data path that exchanged data with four RLOCs."""

    def last_uses(self) -> list[tuple[int, object, object, float]]:
        ends = [(7, "10.9.0.1", "10.0.0.1"), (0, "2001:db8::1", "10.0.0.1"), (0, "10.9.0.9", "10.0.0.10")]
        ends += [(0, "10.9.0.10", "10.0.0.1"), (0, "10.9.0.9", "10.0.0.9")]
        return [(iid, ip_address(eid), ip_address(rloc), float(at)) for at, (iid, eid, rloc) in enumerate(ends)]


def test_contacts_stay_where_they_are_from_one_look_to_the_next() -> None:
    """By EID and RLOC as numbers, whichever was used last."""
    rows = contact_rows(cast(DataPath, Uses()), 10.0, 2.0)
    assert [(row["instance_id"], row["eid"], row["rloc"], row["idle_s"]) for row in rows] == [
        (0, "10.9.0.9", "10.0.0.9", 3.0),
        (0, "10.9.0.9", "10.0.0.10", 4.0),
        (0, "10.9.0.10", "10.0.0.1", 3.5),
        (0, "2001:db8::1", "10.0.0.1", 4.5),
        (7, "10.9.0.1", "10.0.0.1", 5.0),
    ]
    assert contact_rows(None, 10.0, 1.0) == []
