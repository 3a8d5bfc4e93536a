"""A plain IP router: the core, or the edge of a non-LISP site. It knows nothing of LISP."""

from __future__ import annotations

from typing import ClassVar

from nodes.kinds.base import Machine


class Router(Machine):
    """A router forwards, whichever way packets come: paths in the core may differ by direction."""

    SYSCTLS: ClassVar = {
        "net/ipv4/ip_forward": 1,
        "net/ipv4/conf/all/rp_filter": 0,
        "net/ipv4/conf/default/rp_filter": 0,
        "net/ipv6/conf/all/forwarding": 1,
        # Among equal paths the ports decide too: that is what an ITR's source ports are for (RFC 9300 section 5.3).
        "net/ipv4/fib_multipath_hash_policy": 1,
        "net/ipv6/fib_multipath_hash_policy": 1,
    }
