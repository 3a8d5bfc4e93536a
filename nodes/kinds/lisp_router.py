"""A machine that runs the LISP daemon: xTR, PxTR, Map-Server, Map-Resolver."""

from __future__ import annotations

from typing import ClassVar

from nodes.kinds.base import Machine


class LispRouter(Machine):
    """Forwards nothing until its daemon has set up the rules: meanwhile no packet leaves a site unencapsulated."""

    SYSCTLS: ClassVar = {
        "net/ipv4/ip_forward": 0,
        "net/ipv4/conf/all/rp_filter": 0,
        "net/ipv4/conf/default/rp_filter": 0,
        "net/ipv6/conf/all/forwarding": 0,
    }
