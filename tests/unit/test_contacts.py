"""With whom data was exchanged within the last minute."""

from __future__ import annotations

from ipaddress import ip_address

from nodes.dataplane.contacts import Contacts, peers_of
from nodes.lisp.eid import EidPrefix

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
    assert peers_of(contacts.last_uses(), SITE, 55.0) == (NEAR, FAR)
    assert peers_of(contacts.last_uses(), SITE, 61.0) == (NEAR,)
    contact.last = 100.0
    assert peers_of(contacts.last_uses(), SITE, 111.0) == (FAR,)
    assert contacts.between(0, HOST, FAR, 111.0) is contact


def test_there_are_no_more_than_the_bound() -> None:
    """Whoever sends from ever new RLOCs makes the oldest be forgotten."""
    contacts = Contacts(most=10)
    for number in range(100):
        contacts.between(0, HOST, ip_address(f"10.0.2.{number}"), float(number))
        assert len(peers_of(contacts.last_uses(), SITE, float(number))) <= 10
    assert ip_address("10.0.2.99") in peers_of(contacts.last_uses(), SITE, 99.0)
