"""A mobile node has one EID of each IP version: what it sends has one source."""

from __future__ import annotations

from testbed.language.checks.core import one_per_version
from testbed.language.problems import Problems
from testbed.language.tables import TopologyRow


def check_mobile_nodes(topology: TopologyRow, problems: Problems) -> None:
    """Note what is wrong with the EIDs of mobile nodes."""
    for node in topology.mobile_nodes:
        one_per_version("eids", f"mobile node {node.name}", node.eids, problems)
