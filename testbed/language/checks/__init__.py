"""What a topology file may not say although every single value in it is well formed.

Each check looks at what was read; where a mistake was found already, nothing is said of what is missing.
"""

from __future__ import annotations

from testbed.language.checks.core import check_core, check_links
from testbed.language.checks.mobile import check_mobile_nodes
from testbed.language.checks.names import check_expectations, check_macs, check_names
from testbed.language.checks.roles import check_roles
from testbed.language.checks.sites import check_site
from testbed.language.checks.spaces import check_spaces
from testbed.language.checks.versions import check_versions
from testbed.language.problems import Problems
from testbed.language.tables import TopologyRow

__all__ = ["check"]


def check(topology: TopologyRow, problems: Problems) -> None:
    """Note every contradiction in ``topology``."""
    check_names(topology, problems)
    check_macs(topology, problems)
    check_spaces(topology, problems)
    check_core(topology, problems)
    check_links(topology, problems)
    for site in topology.sites:
        if "lisp" not in site.broken:
            check_site(site, problems)
    check_mobile_nodes(topology, problems)
    check_roles(topology, problems)
    check_expectations(topology, problems)
    check_versions(topology, problems)
