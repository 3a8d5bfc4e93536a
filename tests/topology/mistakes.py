"""One topology and the ways to spoil it: (case, what to replace, by what)."""

BASE = """\
title: A base to spoil
address-space:
  rloc: 10.0.0.0/16
  eid: 192.168.0.0/16
core:
  routers: [core1, core2]
  links:
    - [core1, core2]
mapping-system:
  ms: {roles: map-server, links: core1}
  mr: {roles: map-resolver, links: core2}
proxies:
  pxtr: {roles: pxtr, links: core2}
sites:
  dc1:
    eid-prefixes: 192.168.1.0/24
    key: dc1-secret
    routers:
      xtr1:
        roles: xtr
        links:
          core1: {priority: 1, weight: 75}
          core2: {priority: 1, weight: 25}
    fabric: sw1
    hosts:
      h1: {address: 192.168.1.21/24}
      h2:
  dc2:
    eid-prefixes: 192.168.2.0/24
    key: dc2-secret
    routers:
      xtr2: {roles: xtr, links: core2}
    hosts: h3
  internet:
    lisp: false
    subnets: 203.0.113.0/24
    routers:
      edge: {links: core1}
    hosts: client
"""

REPLACEMENTS: list[tuple[str, str, str]] = [
    ("unknown key", "    fabric: sw1", "    fabrik: sw1"),
    ("unknown key at the top", "proxies:", "proxy:"),
    ("unknown key of a link", "weight: 75", "wieght: 75"),
    ("key given twice", "    fabric: sw1", "    fabric: sw1\n    fabric: sw2"),
    ("required key missing", "      edge: {links: core1}", "      edge: {}"),
    ("no core", "core:\n  routers: [core1, core2]\n  links:\n    - [core1, core2]\n", ""),
    ("no address space", "address-space:\n  rloc: 10.0.0.0/16\n  eid: 192.168.0.0/16\n", ""),
    ("no EID space", "  eid: 192.168.0.0/16\n", ""),
    ("list for a mapping", BASE[BASE.index("core:") : BASE.index("mapping-system")], "core: [core1, core2]\n"),
    ("required key misspelt", "  routers: [core1, core2]", "  router: [core1, core2]"),
    ("empty list of roles", "  pxtr: {roles: pxtr,", "  pxtr: {roles: [],"),
    ("text for a mapping", "      h1: {address: 192.168.1.21/24}", "      h1: 192.168.1.21/24"),
    ("mapping for a value", "    fabric: sw1", "    fabric: {sw1: yes}"),
    ("list for a value", "    key: dc1-secret", "    key: {secret: [dc1-secret]}"),
    ("mapping for a list", "    - [core1, core2]", "    between: core1"),
    ("text for a boolean", "    lisp: false", "    lisp: nope"),
    ("number for text", "    key: dc1-secret", "    key: 1234"),
    ("number for a name", "    hosts: h3", "    hosts: 3"),
    ("text for a number", "weight: 75", "weight: high"),
    ("number out of range", "weight: 75", "weight: 256"),
    ("fraction for a whole number", "priority: 1, weight: 75", "priority: 1.5, weight: 75"),
    ("empty value", "    fabric: sw1", "    fabric:"),
    ("empty list", "  routers: [core1, core2]", "  routers: []"),
    ("empty text", "    key: dc1-secret", '    key: ""'),
    ("one end of a link", "    - [core1, core2]", "    - [core1]"),
    ("name too long", "    hosts: h3", "    hosts: averylonghostname"),
    ("name reserved", "    hosts: h3", "    hosts: lisp0"),
    ("name not a name", "    hosts: h3", "    hosts: h/3"),
    ("name with a blank", "      xtr2: {", "      xtr 2: {"),
    ("name twice in a list", "[core1, core2]\n  links", "[core1, core2, core1]\n  links"),
    ("name twice in a mapping", "      h2:\n", "      h2:\n      h1:\n"),
    ("name of two nodes", "    hosts: h3", "    hosts: xtr1"),
    ("name of a site and a node", "    hosts: h3", "    hosts: dc1"),
    ("site called core", "  internet:", "  core:"),
    ("unknown role", "      xtr2: {roles: xtr,", "      xtr2: {roles: xtrr,"),
    ("unknown role of the map-server", "  ms: {roles: map-server,", "  ms: {roles: mapserver,"),
    ("ITR outside a site", "  pxtr: {roles: pxtr,", "  pxtr: {roles: [pitr, itr],"),
    ("missing map-server", "  ms: {roles: map-server,", "  ms: {roles: map-resolver,"),
    ("missing map-resolver", "  mr: {roles: map-resolver,", "  mr: {roles: map-server,"),
    ("no mapping system", BASE[BASE.index("mapping-system") : BASE.index("proxies")], ""),
    ("dangling link", "      xtr2: {roles: xtr, links: core2}", "      xtr2: {roles: xtr, links: cor2}"),
    ("dangling core link", "    - [core1, core2]", "    - [core1, core3]"),
    ("link to a host", "      edge: {links: core1}", "      edge: {links: h1}"),
    ("link to itself", "    - [core1, core2]", "    - [core1, core2]\n    - [core2, core2]"),
    ("too many parallel links", "    - [core1, core2]\n", "    - [core1, core2]\n" * 11),
    ("link twice", "      edge: {links: core1}", "      edge: {links: [core1, core1]}"),
    ("core in two pieces", "  links:\n    - [core1, core2]\n", ""),
    ("bad CIDR", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 192.168.300.0/24"),
    ("bad CIDR length", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 192.168.2.0/33"),
    ("no prefix length", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 192.168.2.0"),
    ("host bits set", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 192.168.2.1/24"),
    ("IPv6 prefix without IPv6 EIDs", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 2001:db8::/64"),
    ("multicast prefix", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 224.0.1.0/24"),
    ("the default route as a prefix", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 0.0.0.0/0"),
    ("EIDs in the RLOC space", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 10.0.2.0/24"),
    ("EIDs outside the EID space", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 172.16.2.0/24"),
    ("overlapping EID-prefixes", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 192.168.1.128/25"),
    ("same EID-prefix", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 192.168.1.0/24"),
    ("overlapping spaces", "  eid: 192.168.0.0/16", "  eid: [192.168.0.0/16, 10.0.128.0/17]"),
    ("non-LISP subnet among EIDs", "    subnets: 203.0.113.0/24", "    subnets: 192.168.9.0/24"),
    ("non-LISP subnet among RLOCs", "    subnets: 203.0.113.0/24", "    subnets: 10.0.9.0/24"),
    ("subnet without EIDs", "    key: dc2-secret", "    key: dc2-secret\n    subnets: 192.168.4.0/24"),
    ("subnet too small", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 192.168.2.8/32"),
    ("RLOC space too small", "  rloc: 10.0.0.0/16", "  rloc: 10.0.0.0/29"),
    (
        "no EID-prefix left",
        BASE[BASE.index("  eid:") :],
        BASE[BASE.index("  eid:") :]
        .replace("192.168.0.0/16", "192.168.1.0/24")
        .replace("    eid-prefixes: 192.168.2.0/24\n", ""),
    ),
    ("duplicate address", "      h2:\n", "      h2: {address: 192.168.1.21/24}\n"),
    ("address outside its subnet", "192.168.1.21/24", "192.168.7.21/24"),
    ("address without length", "192.168.1.21/24", "192.168.1.21"),
    ("network address", "192.168.1.21/24", "192.168.1.0/24"),
    ("broadcast address", "192.168.1.21/24", "192.168.1.255/24"),
    ("gateway that is no router", "192.168.1.21/24}", "192.168.1.21/24, gateway: 192.168.1.9}"),
    ("bad MAC address", "192.168.1.21/24}", "192.168.1.21/24, mac: 02:00:00:00:zz:01}"),
    ("multicast MAC address", "192.168.1.21/24}", "192.168.1.21/24, mac: 01:00:5e:00:00:01}"),
    (
        "duplicate MAC address",
        "192.168.1.21/24}\n      h2:\n",
        "192.168.1.21/24, mac: 02:00:00:00:aa:01}\n      h2: {mac: 02:00:00:00:AA:01}\n",
    ),
    ("RLOC outside the RLOC space", "{priority: 1, weight: 75}", "{address: 172.16.0.2/30}"),
    ("ends in two subnets", "{priority: 1, weight: 75}", "{address: 10.0.9.2/30, peer-address: 10.0.8.1/30}"),
    ("ends with one address", "{priority: 1, weight: 75}", "{address: 10.0.9.2/30, peer-address: 10.0.9.2/30}"),
    (
        "links in one subnet",
        "{priority: 1, weight: 75}\n          core2: {priority: 1, weight: 25}",
        "{address: 10.0.9.2/29}\n          core2: {address: 10.0.9.3/29}",
    ),
    (
        "duplicate RLOC",
        "      edge: {links: core1}",
        "      edge: {links: {core1: {address: 10.0.9.2/30}, core2: {address: 10.0.9.2/30}}}",
    ),
    ("weight without an ETR", "      edge: {links: core1}", "      edge: {links: {core1: {weight: 5}}}"),
    ("LISP site without a key", "    key: dc2-secret\n", ""),
    ("LISP site without an xTR", "      xtr2: {roles: xtr, links: core2}", "      xtr2: {roles: petr, links: core2}"),
    ("unknown algorithm", "    key: dc2-secret", "    key: {secret: dc2-secret, algorithm: hmac-sha-256}"),
    ("non-LISP site without subnets", "    subnets: 203.0.113.0/24\n", ""),
    ("non-LISP site with a key", "    lisp: false", "    lisp: false\n    key: secret"),
    ("non-LISP site with roles", "      edge: {links: core1}", "      edge: {roles: xtr, links: core1}"),
    ("hosts without a fabric", "    fabric: sw1\n", ""),
    ("expectation for nobody", "sites:\n", "expect:\n  - {from: h1, to: h9, path: native}\nsites:\n"),
    ("unknown path", "sites:\n", "expect:\n  - {from: h1, to: h2, path: tunnel}\nsites:\n"),
    ("tab in the indentation", "  dc1:\n", "\tdc1:\n"),
    ("unclosed bracket", "  routers: [core1, core2]", "  routers: [core1, core2"),
    ("unclosed quote", "    key: dc1-secret", "    key: 'dc1-secret"),
    ("two values in a line", "    key: dc1-secret", "    key: dc1: secret"),
    ("undefined alias", "    key: dc1-secret", "    key: *secret"),
    ("second document", "sites:\n", "---\nsites:\n"),
    (
        "several mistakes",
        "core2]\nmapping-system:\n  ms: {roles: map-server,",
        "core9]\nmapping-system:\n  ms: {rolls: map-server,",
    ),
]
