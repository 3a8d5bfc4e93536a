"""The kinds of single values a topology file holds, each with the words that say what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any

from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.language.document import Mapping as MappingValue
from testbed.language.document import Scalar, Value
from testbed.model import IPInterface
from testbed.words import one_of

MAX_NAME = 13  # an interface is named after its peer: 15 characters less room for "-2"
RESERVED = frozenset({"lo", "lisp0", "all", "default"})  # interfaces of every router, and of the kernel's settings


class Wrong(Exception):  # noqa: N818 - control flow of the reader, never seen outside
    """A value is not of its kind: what is wrong and what is allowed."""

    def __init__(self, what: str, allowed: str) -> None:
        super().__init__(what)
        self.what = what
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class ScalarShape:
    """A kind of single value.

    Attributes:
        name: Its name in documentation.
        allowed: The phrase that says what is allowed.
        parse: The value of a scalar; raises :class:`Wrong`.
        schema: The same for editors, in JSON Schema: it may let pass what ``parse`` refuses, never the reverse.
    """

    name: str
    allowed: str
    parse: Callable[[Scalar, str], Any]
    schema: Mapping[str, Any]

    def read(self, value: Value) -> Any:
        """The value in ``value``.

        Raises:
            Wrong: It is not of this kind.
        """
        if not isinstance(value, Scalar) or value.kind == "null":
            raise Wrong(f"is {described(value)}", self.allowed)
        return self.parse(value, self.allowed)


def described(value: Value) -> str:
    """What a value is, for messages."""
    if isinstance(value, Scalar):
        kinds = {"null": "empty", "str": f"'{value.text}'", "bool": f"the boolean {value.text}"}
        return kinds.get(value.kind, f"the number {value.text}" if value.kind in ("int", "float") else value.text)
    return "a mapping" if isinstance(value, MappingValue) else "a list"


def _name(scalar: Scalar, allowed: str) -> str:
    text = scalar.text
    if scalar.kind != "str":
        raise Wrong(f"is {described(scalar)}", f'{allowed}; in quotes ("{text}") if it is meant')
    if text.lower() in RESERVED or re.fullmatch(r"lisp\d+", text.lower()):  # a tenant's TUN device has its instance-ID
        raise Wrong(f"'{text}' is reserved", f"allowed is any name but {', '.join(sorted(RESERVED))}")
    if len(text) > MAX_NAME:
        raise Wrong(f"'{text}' has {len(text)} characters", f"allowed are at most {MAX_NAME}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise Wrong(f"'{text}' is not a name", allowed)
    return text


def _lab_name(scalar: Scalar, allowed: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", scalar.text):
        raise Wrong(f"'{scalar.text}' is not a name", allowed)
    return scalar.text


def _text(scalar: Scalar, allowed: str) -> str:
    if scalar.kind != "str":
        raise Wrong(f"is {described(scalar)}", f'{allowed}; in quotes ("{scalar.text}") if it is meant')
    if not scalar.text or not scalar.text.isprintable():
        raise Wrong("is empty" if not scalar.text else "has control characters or line breaks", allowed)
    return scalar.text


def _boolean(scalar: Scalar, allowed: str) -> bool:
    if scalar.kind != "bool":
        raise Wrong(f"is {described(scalar)}", allowed)
    return scalar.text.lower() in ("true", "yes", "on")


def _unicast(address: IPAddress, text: str) -> None:
    if address.is_multicast or address.is_loopback or address.is_reserved or address.is_link_local or not int(address):
        outside = "0/8, 127/8 and 169.254/16" if address.version == 4 else "::/8, fe80::/10 and ff00::/8"
        raise Wrong(f"'{text}' is not unicast", f"allowed are unicast addresses outside {outside}")


def _prefix(scalar: Scalar, allowed: str) -> IPNetwork:
    text = scalar.text
    if "/" not in text:
        raise Wrong(f"'{text}' has no prefix length", allowed)
    try:
        interface = ip_interface(text)
    except ValueError:
        raise Wrong(f"'{text}' is not a prefix", allowed) from None
    network = interface.network
    if interface.ip != network.network_address:
        raise Wrong(f"'{text}' has host bits set", f"allowed is {network}")
    if not network.prefixlen:
        raise Wrong(f"'{text}' covers every address", allowed)
    _unicast(network.network_address, text)
    return network


def _interface(scalar: Scalar, allowed: str) -> IPInterface:
    text = scalar.text
    if "/" not in text:
        raise Wrong(f"'{text}' has no prefix length", allowed)
    try:
        interface = ip_interface(text)
    except ValueError:
        raise Wrong(f"'{text}' is not an address with a prefix length", allowed) from None
    network = interface.network
    longest = network.max_prefixlen - 1
    if not 0 < network.prefixlen <= longest:
        raise Wrong(f"'{text}' leaves no room for a neighbour", f"allowed are prefix lengths from 1 to {longest}")
    if network.prefixlen < longest:
        # RFC 4291 section 2.6.1: the first address of an IPv6 subnet is every router's; IPv6 has no broadcast.
        first = "network" if network.version == 4 else "subnet-router anycast"
        which = first if interface.ip == network.network_address else ""
        if network.version == 4 and interface.ip == network.broadcast_address:
            which = "broadcast"
        if which:
            last = network[-2] if network.version == 4 else network[-1]
            raise Wrong(
                f"'{text}' is the {which} address of {network}",
                f"allowed are the addresses from {network[1]} to {last}",
            )
    _unicast(interface.ip, text)
    return interface


def _address(scalar: Scalar, allowed: str) -> IPAddress:
    try:
        address = ip_address(scalar.text)
    except ValueError:
        raise Wrong(f"'{scalar.text}' is not an address", allowed) from None
    _unicast(address, scalar.text)
    return address


def _group(scalar: Scalar, allowed: str) -> IPAddress:
    try:
        group = ip_address(scalar.text)
    except ValueError:
        raise Wrong(f"'{scalar.text}' is not an address", allowed) from None
    if not group.is_multicast:
        raise Wrong(f"'{scalar.text}' is not multicast", allowed)
    return group


def _mac(scalar: Scalar, allowed: str) -> str:
    text = scalar.text.lower()
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", text):
        raise Wrong(f"'{scalar.text}' is not a MAC address", allowed)
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise Wrong(f"'{scalar.text}' is not a unicast MAC address", allowed)
    return text


def word(name: str, words: Iterable[str]) -> ScalarShape:
    """One of a few words."""
    known = tuple(words)

    def parse(scalar: Scalar, _allowed: str) -> str:
        if scalar.text not in known:
            raise Wrong(f"unknown {name} {described(scalar)}", one_of(known, scalar.text))
        return scalar.text

    return ScalarShape(name, one_of(known), parse, {"enum": list(known)})


def number(name: str, low: float, high: float, *, whole: bool = True, or_zero: bool = False) -> ScalarShape:
    """A number between two bounds, both allowed; with ``or_zero`` 0 as well, which switches something off."""

    def parse(scalar: Scalar, allowed: str) -> int | float:
        if scalar.kind not in (("int",) if whole else ("int", "float")):
            raise Wrong(f"is {described(scalar)}", allowed)
        try:
            value = int(scalar.text, 0) if whole else float(scalar.text)
        except ValueError:
            raise Wrong(f"is {described(scalar)}", allowed) from None
        if not low <= value <= high and not (or_zero and value == 0):
            raise Wrong(f"{scalar.text} is out of range", allowed)
        return value

    kind = ("0 and " if or_zero else "") + ("whole numbers" if whole else "numbers")
    schema: dict[str, Any] = {"type": "integer" if whole else "number", "minimum": low, "maximum": high}
    if or_zero:
        schema = {"anyOf": [{**schema, "minimum": 0, "maximum": 0}, schema]}
    return ScalarShape(name, f"allowed are {kind} from {low:,} to {high:,}", parse, schema)


NAME = ScalarShape(
    "name",
    f"allowed is a name: at most {MAX_NAME} letters, digits, - and _, a letter or digit first",
    _name,
    {"type": "string", "pattern": f"^[A-Za-z0-9][A-Za-z0-9_-]{{0,{MAX_NAME - 1}}}$"},
)
LAB_NAME = ScalarShape(
    "lab name",
    "allowed are at most 40 letters, digits, '.', - and _, a letter or digit first",
    _lab_name,
    {"type": ["string", "number"], "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"},
)
TEXT = ScalarShape("text", "allowed is one line of text", _text, {"type": "string", "minLength": 1})
BOOLEAN = ScalarShape("boolean", "allowed is true or false", _boolean, {"type": "boolean"})
PREFIX = ScalarShape(
    "prefix",
    "allowed is a prefix such as 192.168.1.0/24 or 2001:db8:1::/64",
    _prefix,
    {"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]+$"},
)
INTERFACE = ScalarShape(
    "address/length",
    "allowed is an address with its length, such as 192.168.1.11/24 or 2001:db8:1::11/64",
    _interface,
    {"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]+$"},
)
GROUP = ScalarShape(
    "group",
    "allowed is a multicast address such as 239.192.0.1 or ff15::1",
    _group,
    {"type": "string", "format": "ip"},
)
ADDRESS = ScalarShape(
    "address",
    "allowed is an address such as 192.168.1.1 or 2001:db8:1::1",
    _address,
    {"type": "string", "pattern": "^[0-9A-Fa-f:.]+$"},
)
MAC = ScalarShape(
    "MAC address",
    "allowed is a unicast MAC address such as 02:00:00:00:00:01",
    _mac,
    {"type": "string", "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$"},
)
