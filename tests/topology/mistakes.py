"""One topology and the ways to spoil it: (case, what to replace, by what, and so on in pairs)."""

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

RTR = ("  pxtr: {", "  rtr: {roles: rtr, links: core1}\n  rtr2: {roles: rtr, links: core1}\n  pxtr: {")
DUAL_SPACE = ("  rloc: 10.0.0.0/16", "  rloc: [10.0.0.0/16, 2001:db8:10c::/48]")
DUAL_RTRS = (
    *DUAL_SPACE,
    "  pxtr: {",
    "  rtr: {roles: rtr, links: core1, versions: ipv4}\n  rtr2: {roles: rtr, links: core1, versions: ipv6}\n  pxtr: {",
)

MOBILE = "    hosts: client\nmobile-nodes:\n  mn:\n    key: mobile-secret\n    networks: [core1, core2]\n"
SPARE = ("    hosts: client\n", MOBILE)

REPLACEMENTS: list[tuple[str, ...]] = [
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
    ("unknown data plane", "title: A base to spoil", "title: A base to spoil\ndataplane: ebfp"),
    ("unknown data plane of a node", "      xtr2: {roles: xtr,", "      xtr2: {dataplane: kernel, roles: xtr,"),
    (
        "data plane of a router without LISP",
        "      edge: {links: core1}",
        "      edge: {dataplane: python, links: core1}",
    ),
    ("probing too often", "title: A base to spoil", "title: A base to spoil\nprobing: 0.9"),
    (
        "probing by a router without LISP",
        "      edge: {links: core1}",
        "      edge: {probing: 1, links: core1}",
    ),
    (
        "Locator-Status-Bits neither on nor off",
        "      xtr2: {roles: xtr,",
        "      xtr2: {locator-status-bits: 3, roles: xtr,",
    ),
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
    ("two keys of one Key ID", "    key: dc2-secret", "    key: dc2-secret\n    other-keys: [{secret: next}]"),
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
    ("unknown routing", "core:\n", "routing: ospf\ncore:\n"),
    ("loopback with static routes", "  routers: [core1, core2]", "  routers: {core1: {loopback: 10.0.9.9}, core2: }"),
    (
        "loopback outside the RLOC space",
        "core:\n  routers: [core1, core2]",
        "routing: ospf-bgp\ncore:\n  routers: {core1: {loopback: 172.16.0.1}, core2: }",
    ),
    (
        "two loopbacks of one version",
        "core:\n  routers: [core1, core2]",
        "routing: ospf-bgp\ncore:\n  routers: {core1: {loopback: [10.0.9.9, 10.0.9.8]}, core2: }",
    ),
    ("AS number with static routes", "      edge: {links: core1}", "      edge: {asn: 65001, links: core1}"),
    ("AS number of an xTR", "core:\n", "routing: ospf-bgp\ncore:\n", "      xtr2: {", "      xtr2: {asn: 65001, "),
    ("AS number of the core", "core:\n", "routing: ospf-bgp\ncore:\n", "      edge: {", "      edge: {asn: 65000, "),
    ("no bandwidth at all", "{priority: 1, weight: 75}", "{bandwidth: 0}"),
    ("bandwidth with a unit", "{priority: 1, weight: 75}", "{bandwidth: 100Mbit/s}"),
    ("negative delay", "{priority: 1, weight: 75}", "{delay: -1}"),
    ("more than everything lost", "    - [core1, core2]", "    - {between: [core1, core2], loss: 101}"),
    ("mtu too small", "{priority: 1, weight: 75}", "{mtu: 500}"),
    ("mtu too small for a LISP header", "{priority: 1, weight: 75}", "{mtu: 600}"),
    (
        "mtu too small for IPv6",
        "  eid: 192.168.0.0/16\n",
        "  eid: [192.168.0.0/16, 2001:db8:e::/48]\n",
        "weight: 75}",
        "mtu: 1300}",
    ),
    ("unknown key of a cable", "        roles: xtr\n", "        roles: xtr\n        cable: {latency: 5}\n"),
    (
        "one cable said twice",
        "      xtr2: {roles: xtr, links: core2}\n    hosts: h3",
        "      xtr2: {links: core2, cable: {delay: 1}}\n    hosts: {h3: {delay: 2}}",
    ),
    (
        "link to nowhere under another name",
        "          core2: {priority: 1,",
        "          second: {to: core9, priority: 1,",
    ),
    ("second link without its end", "          core2: {priority: 1,", "          second: {priority: 1,"),
    ("instance-ID too long", "    fabric: sw1", "    instance-id: 16777216\n    fabric: sw1"),
    ("instance-ID of a non-LISP site", "    lisp: false", "    lisp: false\n    instance-id: 5"),
    ("hosts beside tenants", "    hosts: h3", "    hosts: h3\n    tenants: {red: {instance-id: 1}}"),
    (
        "tenants of one instance",
        "    eid-prefixes: 192.168.2.0/24",
        "    tenants:\n      red: {instance-id: 1, eid-prefixes: 192.168.4.0/24}\n"
        "      blue: {instance-id: 1, eid-prefixes: 192.168.5.0/24}",
        "    hosts: h3\n",
        "",
    ),
    (
        "same prefix in one instance",
        "    eid-prefixes: 192.168.2.0/24",
        "    tenants:\n      red: {instance-id: 1, eid-prefixes: 192.168.4.0/24}\n"
        "      blue: {instance-id: 0, eid-prefixes: 192.168.1.0/24}",
        "    hosts: h3\n",
        "",
    ),
    (
        "tenant on another site's router",
        "    eid-prefixes: 192.168.2.0/24",
        "    tenants: {red: {instance-id: 1, routers: {xtr1: {address: 192.168.0.1/24}}}}",
        "    hosts: h3\n",
        "",
    ),
    ("tenants of a non-LISP site", "    lisp: false", "    lisp: false\n    tenants: {red: {instance-id: 5}}"),
    ("gateway in no subnet", "    hosts: h3", "    gateway: 192.168.3.254\n    hosts: h3"),
    ("gateway that nobody can be", "    hosts: h3", "    gateway: 192.168.2.255\n    hosts: h3"),
    ("gateway with a length", "    hosts: h3", "    gateway: 192.168.2.254/24\n    hosts: h3"),
    ("two gateways", "    hosts: h3", "    gateway: [192.168.2.254, 192.168.2.253]\n    hosts: h3"),
    ("gateway that is a host", "    fabric: sw1", "    gateway: 192.168.1.21\n    fabric: sw1"),
    ("gateway of a non-LISP site", "    hosts: client", "    gateway: 203.0.113.254\n    hosts: client"),
    (
        "gateway of two routers",
        "    fabric: sw1",
        "    fabric: sw1\n    gateway: 192.168.1.254",
        "      xtr1:\n",
        "      xtr3: {links: core1}\n      xtr1:\n",
    ),
    ("group of one xTR", "    hosts: h3", "    map-notify-group: 239.192.0.1\n    hosts: h3"),
    ("group that is no multicast address", "    hosts: h3", "    map-notify-group: 192.168.2.9\n    hosts: h3"),
    ("MAC address of no gateway", "    hosts: h3", '    gateway-mac: "02:00:5e:00:00:01"\n    hosts: h3'),
    (
        "MAC address of a gateway and a host",
        "    hosts: h3",
        '    gateway: 192.168.2.254\n    gateway-mac: "02:00:5e:00:00:01"\n    hosts: h3',
        "192.168.1.21/24}",
        "192.168.1.21/24, mac: 02:00:5e:00:00:01}",
    ),
    (
        "one gateway with two MAC addresses",
        "    eid-prefixes: 192.168.2.0/24",
        '    dynamic-eids: 192.168.9.0/24\n    gateway: 192.168.9.1\n    gateway-mac: "02:00:5e:00:00:01"',
        "    eid-prefixes: 192.168.1.0/24",
        "    dynamic-eids: 192.168.9.0/24\n    gateway: 192.168.9.1",
        "{address: 192.168.1.21/24}",
        "",
    ),
    ("dynamic EIDs outside the EID space", "    hosts: h3", "    dynamic-eids: 172.16.0.0/24\n    hosts: h3"),
    ("dynamic EIDs over a site's own", "    hosts: h3", "    dynamic-eids: 192.168.0.0/23\n    hosts: h3"),
    (
        "dynamic EIDs that overlap in part",
        "    hosts: h3",
        "    dynamic-eids: 192.168.2.0/25\n    hosts: h3",
        "    fabric: sw1",
        "    dynamic-eids: 192.168.2.0/26\n    fabric: sw1",
    ),
    ("proxy replies for nobody", "    hosts: h3", "    nbr-proxy-reply: 3\n    hosts: h3"),
    ("unknown map-server of a site", "    key: dc2-secret", "    key: dc2-secret\n    map-servers: [ms, mr]"),
    ("unknown map-resolver of a site", "    key: dc2-secret", "    key: dc2-secret\n    map-resolvers: m"),
    ("unknown PETR", "    key: dc2-secret", "    key: dc2-secret\n    petrs: pxtr2"),
    ("map-resolvers of a Map-Server", "  ms: {roles: map-server,", "  ms: {roles: map-server, map-resolvers: mr,"),
    ("map-servers of a non-LISP site", "    lisp: false", "    lisp: false\n    map-servers: ms"),
    ("unknown IP version", "    key: dc2-secret", "    key: dc2-secret\n    locators: ipv5"),
    ("bad IPv6 prefix", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 2001:db8::1::/64"),
    ("bad IPv6 prefix length", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 2001:db8::/129"),
    ("IPv6 host bits set", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: 2001:db8::1/64"),
    ("link-local prefix", "    eid-prefixes: 192.168.2.0/24", "    eid-prefixes: fe80::/64"),
    ("subnet-router anycast address", "192.168.1.21/24", "2001:db8::/64"),
    ("IPv6 address in an IPv4 site", "192.168.1.21/24", "2001:db8::21/64"),
    ("IPv6 gateway of an IPv4 host", "192.168.1.21/24}", "192.168.1.21/24, gateway: 2001:db8::1}"),
    ("two IPv4 addresses of a host", "192.168.1.21/24}", "[192.168.1.21/24, 192.168.1.22/24]}"),
    ("IPv6 RLOC in an IPv4 core", "{priority: 1, weight: 75}", "{address: 2001:db8:9::2/64}"),
    ("two IPv4 RLOCs on a link", "{priority: 1, weight: 75}", "{address: [10.0.9.2/30, 10.0.8.2/30]}"),
    ("half a pair of addresses", "    - [core1, core2]", "    - {between: [core1, core2], addresses: 10.0.9.1/30}"),
    (
        "a pair of two versions",
        "    - [core1, core2]",
        "    - {between: [core1, core2], addresses: [10.0.9.1/30, 2001:db8::2/64]}",
    ),
    (
        "overlapping IPv6 prefixes",
        "  eid: 192.168.0.0/16\n",
        "  eid: [192.168.0.0/16, 2001:db8:e::/48]\n",
        "    eid-prefixes: 192.168.2.0/24",
        "    eid-prefixes: 2001:db8:e::/64\n    subnets: 2001:db8:e::/64",
        "    eid-prefixes: 192.168.1.0/24",
        "    eid-prefixes: [192.168.1.0/24, 2001:db8:e::/56]",
    ),
    (
        "no IPv6 prefix left",
        "  eid: 192.168.0.0/16\n",
        "  eid: [192.168.0.0/16, 2001:db8:e::/64]\n",
        "    eid-prefixes: 192.168.1.0/24\n",
        "",
        "    eid-prefixes: 192.168.2.0/24\n",
        "",
        "{address: 192.168.1.21/24}",
        "",
    ),
    ("expectation of no version", "sites:\n", "expect:\n  - {from: h1, to: h2, path: local, version: 4}\nsites:\n"),
    ("via a node that is not there", "    fabric: sw1", "    fabric: sw1\n    via: rtr"),
    ("via a node that is no RTR", "    fabric: sw1", "    fabric: sw1\n    via: pxtr"),
    ("via a misspelt RTR", *RTR, "    fabric: sw1", "    fabric: sw1\n    via: rtrr"),
    ("via an RTR twice", *RTR, "    fabric: sw1", "    fabric: sw1\n    via: [rtr, rtr2, rtr]"),
    ("via of a non-LISP site", *RTR, "    lisp: false", "    lisp: false\n    via: rtr"),
    ("RTRs without a common IP version", *DUAL_RTRS, "    fabric: sw1", "    fabric: sw1\n    via: [rtr, rtr2]"),
    (
        "RTR that cannot reach the site",
        *DUAL_RTRS,
        "    fabric: sw1",
        "    fabric: sw1\n    locators: ipv4\n    via: rtr2",
    ),
    (
        "RTR to a site without locators",
        *DUAL_RTRS,
        "    fabric: sw1",
        "    fabric: sw1\n    locators: ipv4\n    via: rtr2",
        "      xtr1:\n",
        "      xtr1:\n        versions: ipv6\n",
    ),
    (
        "via of a site without an ETR",
        *RTR,
        "    hosts: h3",
        "    hosts: h3\n    via: rtr",
        "xtr2: {roles: xtr",
        "xtr2: {roles: itr",
    ),
    ("versions twice", *DUAL_SPACE, "xtr2: {roles: xtr,", "xtr2: {roles: xtr, versions: [ipv6, ipv6],"),
    ("locators twice", "    fabric: sw1", "    fabric: sw1\n    locators: [ipv4, ipv4]"),
    ("RTR without a Map-Resolver", *RTR, "roles: map-resolver, links", "roles: map-server, links"),
    ("versions that the RLOC space has not", "xtr2: {roles: xtr,", "xtr2: {roles: xtr, versions: ipv6,"),
    ("versions unknown", "xtr2: {roles: xtr,", "xtr2: {roles: xtr, versions: [4, 6],"),
    ("versions of a proxy", "  pxtr: {roles: pxtr,", "  pxtr: {roles: pxtr, versions: ipv4,"),
    ("versions of a plain router", "      edge: {links: core1}", "      edge: {links: core1, versions: ipv4}"),
    (
        "versions of the Map-Servers",
        *DUAL_SPACE,
        "  ms: {",
        "  ms: {versions: ipv4, ",
        "xtr2: {",
        "xtr2: {versions: ipv6, ",
    ),
    (
        "versions of the Map-Resolvers",
        *DUAL_SPACE,
        "  mr: {",
        "  mr: {versions: ipv4, ",
        "xtr2: {",
        "xtr2: {versions: ipv6, ",
    ),
    (
        "address of a version left out",
        *DUAL_SPACE,
        "xtr2: {roles: xtr, links: core2}",
        "xtr2: {versions: ipv6, links: {core2: {address: 10.0.9.2/30}}}",
    ),
    ("mobile node without a network", *SPARE, "    networks: [core1, core2]\n", ""),
    ("mobile node without a key", *SPARE, "    key: mobile-secret\n", ""),
    ("network at no core router", *SPARE, "    networks: [core1, core2]", "    networks: [core1, core3]"),
    (
        "network with a priority",
        *SPARE,
        "    networks: [core1, core2]",
        "    networks: {core1: {priority: 2}, core2: }",
    ),
    ("EID of a mobile node in no EID space", *SPARE, "    networks:", "    eids: 172.16.0.1\n    networks:"),
    ("EID of a mobile node in the RLOC space", *SPARE, "    networks:", "    eids: 10.0.9.1\n    networks:"),
    ("EID of a mobile node inside a site", *SPARE, "    networks:", "    eids: 192.168.1.99\n    networks:"),
    (
        "two EIDs of one IP version",
        *SPARE,
        "    networks:",
        "    eids: [192.168.9.1, 192.168.9.2]\n    networks:",
    ),
    ("mobile node with the name of a site", *SPARE, "  mn:", "  dc2:"),
    ("mobile node called core", *SPARE, "  mn:", "  core:"),
    ("Map-Server of a mobile node", *SPARE, "    networks:", "    map-servers: mr\n    networks:"),
    ("mobile node with an implementation", *SPARE, "    networks:", "    implementation: oor\n    networks:"),
    ("versions of a mobile node", *SPARE, "    networks:", "    versions: ipv6\n    networks:"),
    ("no Map-Server for a mobile node", "roles: map-server", "roles: map-resolver", *SPARE),
    (
        "several mistakes",
        "core2]\nmapping-system:\n  ms: {roles: map-server,",
        "core9]\nmapping-system:\n  ms: {rolls: map-server,",
    ),
]


def spoil(replacements: list[str]) -> str:
    """The base with each pair of texts replaced, once."""
    text = BASE
    for old, new in zip(replacements[::2], replacements[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new, 1)
    return text
