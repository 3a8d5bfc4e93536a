"""The seeded defects by the requirement that a router with it does not meet: one each.

A defect is small, and touches nothing but its requirement: what else a router with it does is right.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.selftest.defect import Defect
from tests.conformance.selftest.defects import control_plane, data_plane, mapping_system, mobility, registrations

DEFECTS: Mapping[str, Defect] = {
    one.requirement: one
    for chapter in (data_plane, control_plane, registrations, mapping_system, mobility)
    for one in chapter.DEFECTS
}
