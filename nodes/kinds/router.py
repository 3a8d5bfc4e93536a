"""A plain IP router: the core, or the edge of a non-LISP site. It knows nothing of LISP."""

from __future__ import annotations

from typing import ClassVar

from nodes.kinds.base import Machine
from nodes.linux.sysctl import has_sysctl

# Among equal paths the ports decide too: that is what an ITR's source ports are for (RFC 9300 section 5.3). A kernel
# may be built without equal paths.
_BY_FLOW = {
    name: 1 for name in (f"net/ipv{version}/fib_multipath_hash_policy" for version in (4, 6)) if has_sysctl(name)
}


class Router(Machine):
    """A router forwards, whichever way packets come: paths in the core may differ by direction."""

    SYSCTLS: ClassVar = {
        "net/ipv4/ip_forward": 1,
        "net/ipv4/conf/all/rp_filter": 0,
        "net/ipv4/conf/default/rp_filter": 0,
        "net/ipv6/conf/all/forwarding": 1,
        **_BY_FLOW,
    }
