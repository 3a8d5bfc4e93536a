"""EID-prefixes: who is addressed, inside which instance."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class EidPrefix:
    """A range of EIDs inside one instance (RFC 9300 sections 3 and 8).

    Attributes:
        network: The prefix; a single EID is a /32 or /128.
        instance_id: The 24-bit instance-ID; 0 is the default instance.
    """

    network: IPNetwork
    instance_id: int = 0

    @classmethod
    def of(cls, text: str | IPAddress | IPNetwork, instance_id: int = 0) -> EidPrefix:
        """Build one from "192.0.2.0/24", an address (a host prefix) or a network."""
        return cls(ip_network(text), instance_id)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.network.version

    @property
    def address(self) -> IPAddress:
        """The first address of the prefix."""
        return self.network.network_address

    @property
    def mask_len(self) -> int:
        """The prefix length in bits."""
        return self.network.prefixlen

    def covers(self, other: EidPrefix) -> bool:
        """Whether every EID of ``other`` is inside this prefix, in the same instance."""
        mine, theirs = self.network, other.network
        return (
            self.instance_id == other.instance_id
            and mine.version == theirs.version
            and mine.prefixlen <= theirs.prefixlen
            and int(theirs.network_address) >> (mine.max_prefixlen - mine.prefixlen)
            == int(mine.network_address) >> (mine.max_prefixlen - mine.prefixlen)
        )

    def contains(self, address: IPAddress) -> bool:
        """Whether ``address``, taken inside this prefix's instance, is one of its EIDs."""
        return address in self.network

    def __str__(self) -> str:
        return f"[{self.instance_id}] {self.network}" if self.instance_id else str(self.network)


def host_prefix(address: str | IPAddress, instance_id: int = 0) -> EidPrefix:
    """The /32 or /128 of one EID."""
    address = ip_address(address) if isinstance(address, str) else address
    return EidPrefix(network_around(address, address.max_prefixlen), instance_id)


def network_around(address: IPAddress, mask_len: int) -> IPNetwork:
    """The prefix of this length that holds an address.

    By the address's number: ``ip_network`` writes an address that it is given as text, and reads that.

    Raises:
        ValueError: No address has so many bits.
    """
    network = IPv4Network if address.version == 4 else IPv6Network
    return network((int(address), mask_len), strict=False)
