"""What a LISP node is told at start: its roles, mappings, peers and keys, as one JSON document.

The lab writes it, the daemon reads it, the engine is built from it. Times are in seconds unless a name says minutes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from nodes.lisp.eid import EidPrefix, IPAddress, IPNetwork
from nodes.lisp.errors import ConfigError
from nodes.lisp.roles import ROLE_SETS as ROLE_SETS
from nodes.lisp.roles import DataPlane as DataPlane
from nodes.lisp.roles import Role as Role
from nodes.lisp.site import DatabaseMapping as DatabaseMapping
from nodes.lisp.site import DynamicEid as DynamicEid
from nodes.lisp.site import Gateway as Gateway
from nodes.lisp.site import IPInterface
from nodes.lisp.site import Locator as Locator

_XTR_ID = re.compile("[0-9a-fA-F]{32}")

MOST_MAPPINGS = 1_000_000
"""What a map-cache may hold at most: the kernel's has room for some defaults more."""

UNUSED_PRIORITY = 255
"""The priority of an RLOC that is never used (RFC 9301 section 5.4)."""

MIN_PROBING, MAX_PROBING = 1, 3600
"""Seconds between two RLOC-probes of a locator: what a node can be told.

ETRs answer an asker one probe every PROBE_INTERVAL (nodes.lisp.engine.replies); with more, a locator seems down.
"""


class Algorithm(IntEnum):
    """Algorithm ID: which KDF and MAC authenticate a message (RFC 9301 section 12.5)."""

    HMAC_SHA_1_96 = 1
    HMAC_SHA_256_128 = 2
    HMAC_SHA_256_128_HKDF_SHA256 = 3


@dataclass(frozen=True, slots=True)
class Key:
    """A pre-shared secret between an ETR and a Map-Server (RFC 9301 section 5.6).

    Attributes:
        key_id: The 8-bit Key ID that names the secret in a message.
        algorithm: The KDF and MAC used with it.
        secret: The pre-shared secret; never shown or logged.
    """

    key_id: int
    algorithm: Algorithm
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MapServerPeer:
    """A Map-Server that the ETR registers with.

    Attributes:
        address: Its RLOC.
        key: The secret shared with it.
        other_keys: Further ones, which the ETR can change over to.
        proxy_reply: Ask it to answer Map-Requests itself (the P-bit).
    """

    address: IPAddress
    key: Key
    proxy_reply: bool = False
    other_keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class SitePrefix:
    """An EID-prefix that a Map-Server accepts from a site.

    Attributes:
        prefix: The configured prefix.
        accept_more_specifics: Whether more-specific prefixes may be registered as well.
    """

    prefix: EidPrefix
    accept_more_specifics: bool = False


@dataclass(frozen=True, slots=True)
class RegistrationSite:
    """A site as its Map-Server knows it (RFC 9301 section 8.2): who may register what, with which keys."""

    name: str
    keys: tuple[Key, ...]
    prefixes: tuple[SitePrefix, ...]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An xTR that may be told of changes (RFC 9437 sections 1.1 and 3), as Map-Resolvers and Map-Servers know it.

    Attributes:
        xtr_id: Its 128-bit xTR-ID, as 32 hexadecimal digits.
        site_id: Its 64-bit Site-ID.
        rlocs: Where it may be: it asks from there, and is told nothing elsewhere.
        keys: The secrets that it shares with the Map-Servers for this alone (section 7.1), the first one in use; a
            Map-Resolver has none of them.
    """

    xtr_id: str
    site_id: int
    rlocs: tuple[IPNetwork, ...]
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Delegation:
    """A configured EID-prefix and the Map-Server that holds it, as a Map-Resolver knows it (RFC 9301 section 8.4)."""

    prefix: EidPrefix
    map_server: IPAddress


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything one LISP node is told.

    Attributes:
        name: The node's name in the lab.
        roles: What it does.
        rlocs: Its own RLOCs, in the order of its core interfaces; all of one IP version, then all of the other.
        core_interfaces: Interfaces towards the RLOC space, in the order of the ``rlocs`` of each IP version.
        site_interfaces: Interfaces towards hosts; empty for nodes that serve none.
        site_instances: The instance-ID of the hosts behind each of ``site_interfaces``; empty when all are 0.
        gateways: What it is to the hosts behind site interfaces, where it is more than its own addresses say.
        map_notify_group: The multicast group of the site's xTRs on its LAN, None where there is one alone (X09).
        database: The EID-prefixes of its site (ETR), also the sources it encapsulates for (ITR).
        dynamic_eids: The prefixes in which hosts are registered one by one, as they are seen.
        roaming: Prefixes inside those of its database in which other sites find hosts: those are then away from home.
        map_resolvers: Where the ITR, PITR or RTR asks.
        map_servers: Where the ETR registers.
        petrs: PETRs that the ITR hands packets for non-LISP destinations to (RFC 6832 section 6), best first.
        eid_aggregates: The aggregates of all EIDs: what a PITR announces, the sources a PETR accepts, and between which
            EIDs an RTR encapsulates again.
        rloc_space: Prefixes of the RLOC space; hosts are denied them (requirement S01).
        sites: The sites a Map-Server serves.
        delegations: The configured EID-prefixes a Map-Resolver knows, each with its Map-Server.
        subscribers: Who may subscribe to mappings (RFC 9437): what a Map-Server and a Map-Resolver check.
        subscription_resolvers: The Map-Resolvers that a Map-Server takes subscriptions from: they have checked as well.
        subscription_keys: The secrets by which Map-Servers prove to this ITR, PITR or RTR what it has subscribed to,
            and it that it wants that; it subscribes to what it resolves if there is one. They are its own, and no
            others: a Map-Notify that is signed with a site's key is about registrations.
        xtr_id: 128-bit xTR-ID, as 32 hexadecimal digits, or "" to send none.
        site_id: 64-bit Site-ID.
        registration_interval: Seconds between Map-Registers (RFC 9301 section 8.2 suggests 60).
        registration_timeout: Seconds after which a Map-Server forgets a silent ETR (three intervals).
        dataplane: What forwards its packets.
        bpf_object: The file with the compiled tc programs, or "" where there is none.
        map_cache_entries: How many mappings the map-cache holds; then the one that would end first makes room.
        core_mtu: The MTU of the RLOC space in bytes; the inner MTU follows from it.
        probing: Seconds between two RLOC-probes of a locator (RFC 9301 section 7.1); 0 sends none.
        path_mtu_discovery: Whether the ITR learns the MTU of the path to each RLOC from ICMP errors (RFC 9300 section
            7.2). False is the stateless way of section 7.1.
        locator_status_bits: Whether encapsulated packets tell which locators of the site are up (RFC 9300 sections 5.3
            and 10; not for the public Internet, section 4.1).
        mobile: Whether it is a mobile node (draft-ietf-lisp-mn): a host that is its own xTR. Its EIDs are addresses of
            its own, its RLOCs are what its core interfaces have at the time; ``rlocs`` are those that it starts with.
        time_scale: How much faster than real time the engine's clock runs.
    """

    name: str
    roles: frozenset[Role]
    rlocs: tuple[IPAddress, ...]
    core_interfaces: tuple[str, ...] = ()
    site_interfaces: tuple[str, ...] = ()
    site_instances: tuple[int, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    map_notify_group: IPAddress | None = None
    database: tuple[DatabaseMapping, ...] = ()
    dynamic_eids: tuple[DynamicEid, ...] = ()
    roaming: tuple[EidPrefix, ...] = ()
    map_resolvers: tuple[IPAddress, ...] = ()
    map_servers: tuple[MapServerPeer, ...] = ()
    petrs: tuple[IPAddress, ...] = ()
    eid_aggregates: tuple[EidPrefix, ...] = ()
    rloc_space: tuple[IPNetwork, ...] = ()
    sites: tuple[RegistrationSite, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    subscribers: tuple[Subscriber, ...] = ()
    subscription_resolvers: tuple[IPAddress, ...] = ()
    subscription_keys: tuple[Key, ...] = ()
    xtr_id: str = ""
    site_id: int = 0
    registration_interval: float = 60.0
    registration_timeout: float = 180.0
    dataplane: DataPlane = DataPlane.AUTO
    bpf_object: str = ""
    map_cache_entries: int = 131_072
    core_mtu: int = 1500
    probing: float = 10.0
    path_mtu_discovery: bool = False
    locator_status_bits: bool = False
    mobile: bool = False
    time_scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.roles:
            raise ConfigError(f"{self.name}: roles is empty; allowed are {', '.join(sorted(ROLE_SETS))}")
        if not self.rlocs:
            raise ConfigError(f"{self.name}: rlocs is empty; a LISP node needs at least one RLOC")
        if not isinstance(self.xtr_id, str) or (self.xtr_id and not _XTR_ID.fullmatch(self.xtr_id)):
            raise ConfigError(f"{self.name}: xtr_id is {self.xtr_id!r}; allowed are 32 hexadecimal digits, or none")
        if not isinstance(self.site_id, int) or not 0 <= self.site_id < 1 << 64:
            raise ConfigError(f"{self.name}: site_id is {self.site_id!r}; allowed are numbers of 64 bits")
        if self.site_instances and len(self.site_instances) != len(self.site_interfaces):
            raise ConfigError(f"{self.name}: site_instances has to be empty or as long as site_interfaces")
        if self.subscription_keys and not self.xtr_id:
            raise ConfigError(f"{self.name}: xtr_id is empty; who subscribes (RFC 9437 section 3) has one")
        for one in self.subscribers:
            if not isinstance(one.xtr_id, str) or not _XTR_ID.fullmatch(one.xtr_id):
                raise ConfigError(
                    f"{self.name}: xtr_id of a subscriber is {one.xtr_id!r}; allowed are 32 hexadecimal digits"
                )
            if Role.MAP_SERVER in self.roles and not one.keys:
                raise ConfigError(f"{self.name}: keys of subscriber {one.xtr_id} is empty; a Map-Server needs one")
        if Role.ETR in self.roles and (self.database or self.dynamic_eids) and not self.map_servers:
            raise ConfigError(
                f"{self.name}: map_servers is empty; an ETR with EID-prefixes registers with at least one"
            )
        if not MIN_PROBING <= self.probing <= MAX_PROBING and self.probing != 0:
            allowed = f"0 and {MIN_PROBING:g} to {MAX_PROBING:g} seconds"
            raise ConfigError(f"{self.name}: probing is {self.probing!r}; allowed are {allowed}")
        if not isinstance(self.map_cache_entries, int) or not 0 < self.map_cache_entries <= MOST_MAPPINGS:
            raise ConfigError(
                f"{self.name}: map_cache_entries is {self.map_cache_entries!r}; allowed are 1 to {MOST_MAPPINGS}"
            )
        if self.roles & {Role.ITR, Role.PITR, Role.RTR} and not self.map_resolvers:
            raise ConfigError(f"{self.name}: map_resolvers is empty; an ITR, PITR or RTR asks at least one")

    def at(self, rlocs: tuple[IPAddress, ...]) -> NodeConfig:
        """The same node with other RLOCs: the locators of its mappings follow them.

        Of an RLOC that the configuration knows, priority and weight are those that it says; of another one 1 and 100.
        The locators of other routers stay.
        """

        def moved(locators: tuple[Locator, ...]) -> tuple[Locator, ...]:
            told = {one.address: one for one in locators}
            if not told.keys() & set(self.rlocs):
                return locators
            others = tuple(one for one in locators if one.address not in self.rlocs and one.address not in rlocs)
            return (*(told.get(rloc, Locator(rloc)) for rloc in rlocs), *others)

        return replace(
            self,
            rlocs=rlocs,
            database=tuple(replace(one, locators=moved(one.locators)) for one in self.database),
            dynamic_eids=tuple(replace(one, locators=moved(one.locators)) for one in self.dynamic_eids),
        )

    def to_json(self) -> str:
        """The document :meth:`from_json` reads. It holds the keys: write it where only root reads."""
        return json.dumps(_plain(asdict(self)), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> NodeConfig:
        """Read a document written by :meth:`to_json`.

        Raises:
            ConfigError: It is not JSON, or a key is missing, unknown or of the wrong kind.
        """
        try:
            return _node(json.loads(text))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"node configuration: {type(error).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """Turn dataclass output into what JSON knows; addresses and networks become text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _prefix(data: Mapping[str, Any]) -> EidPrefix:
    return EidPrefix(ip_network(data["network"]), int(data["instance_id"]))


def _locators(data: Mapping[str, Any]) -> tuple[Locator, ...]:
    return tuple(
        Locator(
            ip_address(one["address"]), one["priority"], one["weight"], tuple(ip_address(hop) for hop in one["via"])
        )
        for one in data["locators"]
    )


def _key(data: Mapping[str, Any]) -> Key:
    return Key(int(data["key_id"]), Algorithm(data["algorithm"]), data["secret"])


def _node(data: Mapping[str, Any]) -> NodeConfig:
    def addresses(name: str) -> tuple[IPAddress, ...]:
        return tuple(ip_address(text) for text in data.get(name, ()))

    def interfaces(item: Mapping[str, Any], name: str) -> tuple[IPInterface, ...]:
        return tuple(ip_interface(text) for text in item[name])

    known: dict[str, Any] = {
        "roles": frozenset(Role(role) for role in data["roles"]),
        "dataplane": DataPlane(data.get("dataplane", DataPlane.AUTO)),
        "rlocs": addresses("rlocs"),
        "core_interfaces": tuple(data.get("core_interfaces", ())),
        "site_interfaces": tuple(data.get("site_interfaces", ())),
        "site_instances": tuple(data.get("site_instances", ())),
        "gateways": tuple(
            Gateway(item["interface"], interfaces(item, "addresses"), item["mac"], interfaces(item, "foreign"))
            for item in data.get("gateways", ())
        ),
        "map_notify_group": ip_address(data["map_notify_group"]) if data.get("map_notify_group") else None,
        "database": tuple(
            DatabaseMapping(_prefix(item["prefix"]), _locators(item), item["ttl_minutes"])
            for item in data.get("database", ())
        ),
        "dynamic_eids": tuple(
            DynamicEid(
                _prefix(item["prefix"]),
                _locators(item),
                item["ttl_minutes"],
                item["proxy_reply_requests"],
                frozenset(ip_address(text) for text in item["routers"]),
                item["host_silence"],
                item["host_probes"],
            )
            for item in data.get("dynamic_eids", ())
        ),
        "roaming": tuple(_prefix(item) for item in data.get("roaming", ())),
        "map_resolvers": addresses("map_resolvers"),
        "map_servers": tuple(
            MapServerPeer(
                ip_address(item["address"]),
                _key(item["key"]),
                item["proxy_reply"],
                tuple(_key(one) for one in item.get("other_keys", ())),
            )
            for item in data.get("map_servers", ())
        ),
        "petrs": addresses("petrs"),
        "eid_aggregates": tuple(_prefix(item) for item in data.get("eid_aggregates", ())),
        "rloc_space": tuple(ip_network(text) for text in data.get("rloc_space", ())),
        "sites": tuple(
            RegistrationSite(
                item["name"],
                tuple(_key(one) for one in item["keys"]),
                tuple(SitePrefix(_prefix(one["prefix"]), one["accept_more_specifics"]) for one in item["prefixes"]),
            )
            for item in data.get("sites", ())
        ),
        "subscribers": tuple(
            Subscriber(
                one["xtr_id"],
                int(one["site_id"]),
                tuple(ip_network(text) for text in one["rlocs"]),
                tuple(_key(key) for key in one["keys"]),
            )
            for one in data.get("subscribers", ())
        ),
        "subscription_resolvers": addresses("subscription_resolvers"),
        "subscription_keys": tuple(_key(one) for one in data.get("subscription_keys", ())),
        "delegations": tuple(
            Delegation(_prefix(item["prefix"]), ip_address(item["map_server"])) for item in data.get("delegations", ())
        ),
    }
    return NodeConfig(**{**data, **known})
