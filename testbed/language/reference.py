"""The language for people: topologies/README.md, from the same declarations that the reader goes by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from testbed.language.scalars import ADDRESS, GROUP, INTERFACE, LAB_NAME, MAC, NAME, PREFIX, TEXT, ScalarShape
from testbed.language.schema import title_of
from testbed.language.shapes import Listed, Many, Named, One, Row, Shape, Table, keys_of
from testbed.language.tables import TopologyRow

_NAMED_VALUES = (NAME, LAB_NAME, TEXT, PREFIX, INTERFACE, ADDRESS, GROUP, MAC)

_INTRODUCTION = """\
# Topologies

A topology file says which world to build: sites with hosts, the core between them, the mapping system, proxies, mobile
nodes.
`ci/lab up FILE` boots it. `ci/lab validate FILE` only reads it: every mistake is one line, `file:line: what is wrong,
what is allowed`, and nothing is created.

This page is generated (`ci/lab generate`) from what the reader itself goes by, and so is `schema.json`: with
`# yaml-language-server: $schema=schema.json` in the first line, editors complete the keys and mark mistakes.
"""

_RULES = """\
## What holds everywhere

- Only the address spaces, the core, the links to it, the keys of LISP sites and the subnets of non-LISP sites must be
  said. Addresses, MAC addresses, interface names and routes follow from the file, the same each time.
  `ci/lab validate FILE --resolved` prints it with all of them filled in, a topology file itself; so is
  `topology.yaml` in a lab's run directory.
- IPv4 and IPv6: the prefixes of `address-space` decide. With both in `rloc`, every link of the core has both and every
  LISP node RLOCs of both, unless its `versions` say otherwise; with both in `eid`, every site that names no prefixes
  gets both.
- One value may stand for a list of one: `links: core1`. Things with names are a name, a list of names, or a mapping
  from names to what is said of them: `hosts: h1`, `hosts: [h1, h2]`, `hosts: {h1: {delay: 5}, h2: }`.
- An interface has the name of the node at its other end: `core1` of `xtr1` leads to core1; a second link is `core1-2`.
- LISP nodes have a default route to the core and nothing else, so that they look everything up that is no EID of
  theirs. The core knows the RLOC space, non-LISP subnets, and of all EIDs the aggregates, towards the PITRs.
- Of the roles, `xtr` is `itr` and `etr`, `pxtr` is `pitr` and `petr`, `msmr` is `map-server` and `map-resolver`. If
  left out, a node is an `msmr` under `mapping-system`, a `pxtr` under `proxies`, an `xtr` in a LISP site. One node may
  have them all.
- Packets for a site with `via` pass RTRs: the site registers Explicit Locator Paths (RFC 8060), and who sends to it
  knows by them which RTR is next. So sites whose RLOCs have no IP version in common reach each other, through an RTR
  that has both. An RTR carries between EIDs, in every instance; one that is also a PITR or PETR, in instance 0 alone.
  A PITR sends packets for such a site the same way.
- Sites that share a prefix of `dynamic-eids` stretch one subnet over several places. They are one site to the
  Map-Server, which takes the key of any of them.
- `dynamic-eids` may also lie inside the `eid-prefixes` of another site, the home of the hosts found there. It registers
  the subnet, hears of hosts that are away and sends to them, and ends their own mappings when they return. These sites
  too are one to the Map-Server.
- A `gateway` is an address that a site's router has beside its own, and what its hosts send by unless they say
  something else. Sites that share `dynamic-eids` may have the same `gateway`, as in `mobility`; its MAC address is one
  for all sites unless `gateway-mac` says something else. So a host that moves finds its gateway as it was. Where
  gateways differ, each router has those of the other sites too, for hosts that came from there.
- A mobile node is a host and its own xTR (draft-ietf-lisp-mn). Its EIDs are addresses of its `lo`, and the source of
  what it sends, but for what goes to the RLOC space. It has an interface for each of its networks, with the name of
  the core router there. The one that it is attached to is up and has addresses, its RLOCs, and default routes:
  `ci/lab move mn lte` has it lose them and take those of the network `lte`. It runs no other implementation and sends
  no Locator-Status-Bits.
- A site with two xTRs or more may have a `map-notify-group`, such as 239.192.0.1: of the hosts that one of them finds
  they all know, and the one with the lowest RLOC that reaches the core is the site's `gateway` and registers the hosts.
- What `ci/lab ping` expects of a pair of hosts follows from the file: `local` inside a site, `encapsulated` between
  LISP sites, `reencapsulated` where they are reached via RTRs, `proxied` between LISP and non-LISP sites through a
  PxTR, `native` without one, else `unreachable`.
  `expect` overrides it. Hosts of two instances never meet: nothing is expected of them.
"""


def reference_text(worlds: Sequence[tuple[str, str]]) -> str:
    """The page.

    Args:
        worlds: File name and title of each topology that comes with the testbed.
    """
    parts = [_INTRODUCTION, "## Worlds\n\n| file | what it shows |\n|---|---|"]
    parts += [f"| [{name}]({name}) | {title} |" for name, title in worlds]
    parts += ["", _RULES, "## Keys\n\nKeys in **bold** must be given.\n"]
    parts += [tables_text(TopologyRow)]
    parts += ["## Values\n\n| value | what it is |\n|---|---|"]
    parts += [f"| {shape.name} | {_allowed(shape)} |" for shape in _NAMED_VALUES]
    return "\n".join(parts) + "\n"


def tables_text(root: type[Row]) -> str:
    """Every table of a language with its keys; ``root`` is the file."""
    return "\n".join("\n".join(_table(row, heading, root)) for row, heading in _tables(root))


def _tables(root: type[Row]) -> Iterator[tuple[type[Row], str]]:
    """Every table of a language with where it stands, from the top down."""
    waiting: list[tuple[type[Row], str]] = [(root, "The file")]
    seen: set[type[Row]] = set()
    for row, heading in waiting:
        if row in seen:
            continue
        seen.add(row)
        yield row, heading
        for name, key in keys_of(row).items():
            inner = _row_of(key.shape)
            if inner is not None:
                waiting.append((inner, f"`{name}`" if row is root else f"`{name}` of {title_of(row).lower()}"))


def _row_of(shape: Shape) -> type[Row] | None:
    if isinstance(shape, Listed):
        return shape.of.row
    return shape.row if isinstance(shape, Table | Named) else None


def _table(row: type[Row], heading: str, root: type[Row]) -> Iterator[str]:
    about = " ".join((row.__doc__ or "").replace("``", "`").split())
    yield f"### {heading}\n\n{about}\n\n| key | value | meaning |\n|---|---|---|"
    for name, key in keys_of(row).items():
        shown = f"**`{name}`**" if key.required else f"`{name}`"
        yield f"| {shown} | {_value(key.shape, root)} | {key.doc} |"
    yield ""


def _value(shape: Shape, root: type[Row]) -> str:
    """What may stand in one place of a file, in a few words."""
    if isinstance(shape, One):
        return _scalar(shape.of)
    if isinstance(shape, Many):
        return f"{shape.exactly} of {_scalar(shape.of)}" if shape.exactly else f"one or more: {_scalar(shape.of)}"
    if isinstance(shape, Table):
        short = f"{_value(keys_of(shape.row)[shape.short].shape, root)}, or " if shape.short else ""
        return f"{short}a mapping, [below](#{_anchor(shape.row, root)})"
    if isinstance(shape, Listed):
        return f"a list, each {_value(shape.of, root)}"
    if isinstance(shape, Named):
        return f"names, [below](#{_anchor(shape.row, root)})"
    raise TypeError(f"{type(shape).__name__} has no description")


def _scalar(shape: ScalarShape) -> str:
    """A kind of value: by its name where that is explained, else what is allowed."""
    return f"[{shape.name}](#values)" if shape in _NAMED_VALUES else _allowed(shape)


def _allowed(shape: ScalarShape) -> str:
    return re.sub(r"^allowed (is|are) ", "", shape.allowed)


def _anchor(row: type[Row], root: type[Row]) -> str:
    """Where GitHub's Markdown puts a heading."""
    heading = next(heading for other, heading in _tables(root) if other is row)
    return heading.lower().replace("`", "").replace(" ", "-")
