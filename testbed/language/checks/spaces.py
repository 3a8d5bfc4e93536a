"""EIDs and RLOCs are two address spaces (RFC 9300 section 3), and no two sites share a prefix of one instance.

A site may have an EID-prefix inside another one of its own (RFC 9301 section 5.5).
"""

from __future__ import annotations

from collections import defaultdict

from nodes.lisp.eid import IPNetwork
from testbed.language.prefixes import Claim, inside, overlaps
from testbed.language.problems import Problems
from testbed.language.segments import Segment, all_segments, is_lisp
from testbed.language.shapes import At
from testbed.language.tables import AddressSpaceRow, TopologyRow


def check_spaces(topology: TopologyRow, problems: Problems) -> None:
    """Every prefix lies in its space, and none overlaps another's."""
    space = topology.address_space
    if space is None:
        return
    rlocs = [Claim(at.value, "the RLOC space", at.line) for at in space.rloc]
    eids = [Claim(at.value, "the EID space", at.line) for at in space.eid]
    for later, earlier in overlaps([*rlocs, *eids]):
        what = f"{later.owner} {later.network} overlaps {earlier.owner} {earlier.network}"
        problems.add(later.line, what, f"allowed are prefixes of their own (line {earlier.line})")
    nested: set[str] = set()
    fixed: dict[int, list[Claim]] = defaultdict(list)
    dynamic: dict[int, list[Claim]] = defaultdict(list)
    for segment in all_segments(topology):
        if "lisp" in segment.site.broken:
            continue
        row = segment.row
        if row.eid_prefixes and _lisp(segment):
            nested.add(segment.label)
        prefixes = (row.eid_prefixes or (() if row.dynamic_eids else row.subnets)) if _lisp(segment) else row.subnets
        for at, claims in (
            *((at, fixed) for at in prefixes),
            *((at, dynamic) for at in row.dynamic_eids if _lisp(segment)),
        ):
            if _placed(at, segment, space, problems):
                claims[segment.instance_id].append(Claim(at.value, segment.label, at.line))
    for claimed in fixed.values():
        for later, earlier in overlaps(claimed):
            if later.owner == earlier.owner and later.owner in nested and later.network != earlier.network:
                continue
            what = f"prefix {later.network} of {later.owner} overlaps {earlier.network} of {earlier.owner}"
            problems.add(later.line, what, f"allowed are prefixes that share no address (line {earlier.line})")
    for instance_id, claimed in dynamic.items():
        _dynamic(claimed, fixed[instance_id], problems)


def _lisp(segment: Segment) -> bool:
    return is_lisp(segment.site)


def _dynamic(claimed: list[Claim], fixed: list[Claim], problems: Problems) -> None:
    """Sites may share a dynamic prefix, or find hosts inside the prefix of another; more than that has no meaning."""
    first: dict[IPNetwork, Claim] = {}
    for claim in claimed:
        first.setdefault(claim.network, claim)
    for later, earlier in overlaps(first.values()):
        what = f"dynamic-eids {later.network} of {later.owner} overlaps {earlier.network} of {earlier.owner}"
        problems.add(
            later.line, what, f"allowed are the same prefix or one that shares no address (line {earlier.line})"
        )
    for claim in first.values():
        for other in fixed:
            same = claim.network.version == other.network.version and claim.network.overlaps(other.network)
            if same and not inside(claim.network, [other.network]):
                what = f"dynamic-eids {claim.network} of {claim.owner} covers {other.network} of {other.owner}"
                problems.add(claim.line, what, f"allowed are prefixes inside it or apart from it (line {other.line})")


def _placed(at: At[IPNetwork], segment: Segment, space: AddressSpaceRow, problems: Problems) -> bool:
    """Whether a site's prefix lies in the space it belongs to."""
    lisp = _lisp(segment)
    what = f"EID-prefix {at} of {segment.label}" if lisp else f"subnet {at} of {segment.label}"
    version = at.value.version
    eids = [one.value for one in space.eid if one.value.version == version]
    eid = " or ".join(map(str, eids))
    for rloc in space.rloc:
        if rloc.value.version == version and rloc.value.overlaps(at.value):
            allowed = f"allowed are prefixes inside {eid}" if lisp and eid else "allowed are prefixes outside it"
            problems.add(at.line, f"{what} lies in the RLOC space {rloc}", allowed)
            return False
    if "eid" in space.broken or not space.eid:
        return True
    if lisp and not inside(at.value, eids):
        everything = " or ".join(map(str, space.eid))
        problems.add(at.line, f"{what} is outside the EID space", f"allowed are prefixes inside {everything}")
        return False
    if not lisp and any(one.overlaps(at.value) for one in eids):
        problems.add(at.line, f"{what} lies in the EID space {eid}", "allowed are prefixes outside it")
        return False
    return True
