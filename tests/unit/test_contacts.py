"""With whom data was exchanged within the last minute."""

from __future__ import annotations

from ipaddress import ip_address

from nodes.dataplane.bpf.layout import CONTACT_KEY, LONG
from nodes.dataplane.contacts import Contacts, peers_of
from nodes.dataplane.kernel import encoding
from nodes.dataplane.kernel.contacts import AGE, KernelContacts
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from tests.unit.kernel_maps import FakeMap

HOST, OTHER = ip_address("192.168.1.1"), ip_address("192.168.9.1")
NEAR, FAR = ip_address("10.0.2.1"), ip_address("10.0.3.1")
SITE = EidPrefix.of("192.168.1.0/24")


def test_peers_are_those_of_the_prefix_within_the_last_minute() -> None:
    """C34: an idle peer is not told, and no peer of another prefix or instance."""
    contacts = Contacts()
    contact = contacts.between(0, HOST, FAR, 0.0)
    contacts.between(0, HOST, NEAR, 50.0)
    contacts.between(0, OTHER, ip_address("10.0.4.1"), 50.0)
    contacts.between(7, HOST, ip_address("10.0.5.1"), 50.0)
    for prefix in (SITE, host_prefix(HOST)):
        assert peers_of(contacts.of(prefix), 55.0) == (NEAR, FAR)
        assert peers_of(contacts.of(prefix), 61.0) == (NEAR,)
    assert peers_of(contacts.of(EidPrefix.of("0.0.0.0/0", 7)), 55.0) == (ip_address("10.0.5.1"),)
    contact.last = 100.0
    assert peers_of(contacts.of(SITE), 111.0) == (FAR,)
    assert contacts.between(0, HOST, FAR, 111.0) is contact


def test_there_are_no_more_than_the_bound() -> None:
    """Whoever sends from ever new RLOCs makes the oldest be forgotten."""
    contacts = Contacts(most=10)
    for number in range(100):
        contacts.between(0, HOST, ip_address(f"10.0.2.{number}"), float(number))
        assert len(peers_of(contacts.of(SITE), float(number))) <= 10
        assert len(list(contacts.last_uses())) <= 10
    assert ip_address("10.0.2.99") in peers_of(contacts.of(SITE), 99.0)


def test_the_programs_map_is_read_once_for_hosts_that_leave_together() -> None:
    """C34: anew when what was read is older than a moment; and as a whole for a wide prefix."""
    kernel, now = FakeMap("contacts"), 100.0
    hosts = [ip_address(f"192.168.1.{number}") for number in range(1, 201)]
    for host in hosts:
        kernel.update(contact_key(host, FAR), LONG.pack(int(99e9)))
    kernel.update(contact_key(ip_address("2001:db8::1"), ip_address("2001:db8:0:2::1")), LONG.pack(int(98e9)))
    reads = []
    items = kernel.items
    kernel.items = lambda: (reads.append(1), items())[1]  # type: ignore[method-assign, func-returns-value]
    contacts = KernelContacts(kernel, lambda: now)
    for host in hosts:
        assert list(contacts.of(host_prefix(host))) == [(FAR, 99.0)]
    assert list(contacts.of(host_prefix(OTHER))) == []
    assert list(contacts.of(host_prefix(HOST, 7))) == []
    assert len(reads) == 1
    kernel.update(contact_key(HOST, NEAR), LONG.pack(int(100e9)))
    now += 2 * AGE
    assert dict(contacts.of(host_prefix(HOST))) == {FAR: 99.0, NEAR: 100.0}
    assert list(contacts.of(EidPrefix.of("2001:db8::/64"))) == [(ip_address("2001:db8:0:2::1"), 98.0)]
    assert len(list(contacts.of(SITE))) == 201


def contact_key(eid: IPAddress, rloc: IPAddress) -> bytes:
    scope = encoding.scope(0, eid.version)
    return CONTACT_KEY.pack(scope, rloc.version, encoding.padded(eid), encoding.padded(rloc))
