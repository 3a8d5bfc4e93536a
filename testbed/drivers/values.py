"""What templates know of a node: the values of the resolved topology, as plain data."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from nodes.lisp.config import Key, Locator, NodeConfig
from nodes.lisp.eid import EidPrefix, IPAddress
from testbed.model import Interface, IPInterface, Node, Topology

_UNIQUE_LOCAL = ip_network("fc00::/7")
CHECKOUT = Path(__file__).resolve().parents[2]

VALUES: Mapping[str, str] = {
    "name": "the node's name",
    "site": 'the site that it stands in, or "core"',
    "roles": "what it does: itr, etr, pitr, petr, rtr, map-server, map-resolver",
    "rlocs": "its RLOCs: address, version (4 or 6), length, interface, gateway, unique_local (of fc00::/7)",
    "interfaces": "its interfaces: name, peer, side (site or core), mac, mtu, instance_id, addresses (address, "
    "version, length)",
    "database": "the EID-prefixes that an ETR registers: prefix, version, instance_id, ttl_minutes, locators (address, "
    'version, priority, weight, via; interface: its own, "" of an RLOC of another router of the site)',
    "dynamic_eids": "the prefixes in which hosts are found: as database, and proxy_reply_requests, host_silence, "
    "host_probes",
    "gateways": "what it is to hosts beside its own addresses: interface, addresses (address, version, length), mac, "
    "and foreign, the gateways of other sites that hosts which came from there use",
    "map_servers": "where an ETR registers: address, version, key_id, algorithm (the Algorithm ID), secret, "
    "proxy_reply",
    "map_resolvers": "where an ITR, PITR or RTR asks: address, version",
    "petrs": "the PETRs of an ITR, best first: address, version",
    "served": "the sites of a Map-Server: name, auth (key_id, algorithm, secret), prefixes (prefix, version, "
    "instance_id, accept_more_specifics, proxy_reply)",
    "delegations": "which Map-Server has which prefix, as a Map-Resolver knows it: prefix, version, instance_id, "
    "map_server",
    "eid_aggregates": "the aggregates of all EIDs: prefix, version, instance_id",
    "rloc_space": "the prefixes of the RLOC space: prefix, version",
    "core_mtu": "the MTU of the RLOC space, bytes",
    "probing": "seconds between two RLOC-probes of a locator; 0 for none",
    "registration_interval": "seconds between two Map-Registers",
    "locator_status_bits": "whether it is to send Locator-Status-Bits",
    "path_mtu_discovery": "whether it is to learn path MTUs",
    "subscription_keys": "its secrets for subscriptions (RFC 9437), none if it is not to subscribe: key_id, algorithm, "
    "secret",
    "subscribers": "who may subscribe, as a Map-Server or Map-Resolver knows it: xtr_id, site_id, rlocs, auth (key_id, "
    "algorithm, secret; a Map-Resolver has none)",
    "time_scale": "how much faster than real time its clock is to run",
    "xtr_id": "its xTR-ID, 32 hexadecimal digits",
    "site_id": "its Site-ID",
    "config": "all that our own daemon would be told",
    "directory": "the node's directory: working directory of the command, place of its files",
    "here": "the directory of the driver file",
    "checkout": "the directory of the testbed",
    "python": "the testbed's Python",
}
"""Every value, and what it is."""

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "lig": ("eid", "instance_id", "timeout"),
    "set-locator": ("eid", "instance_id", "rloc", "priority", "weight"),
}
"""The values that a query has besides; each has ``what``, its own name."""


def values(topology: Topology, node: Node, directory: Path, here: Path) -> dict[str, Any]:
    """All of :data:`VALUES` for a LISP router.

    Args:
        topology: The world.
        node: The node.
        directory: Its directory in the run directory.
        here: The directory of the driver file.
    """
    config = _config(node)
    served = {one for name in topology.nodes for one in _replied_for(topology.nodes[name])}
    own = {address.ip: one for one in node.interfaces for address in one.addresses}
    return {
        "name": node.name,
        "site": node.site,
        "roles": sorted(config.roles),
        "rlocs": [_rloc(topology, own[one], one) for one in config.rlocs],
        "interfaces": [_interface(one) for one in node.interfaces],
        "database": [
            _prefix(one.prefix) | {"ttl_minutes": one.ttl_minutes, "locators": _locators(one.locators, own)}
            for one in config.database
        ],
        "dynamic_eids": [
            _prefix(one.prefix)
            | {"ttl_minutes": one.ttl_minutes, "locators": _locators(one.locators, own)}
            | {"proxy_reply_requests": one.proxy_reply_requests}
            | {"host_silence": one.host_silence, "host_probes": one.host_probes}
            for one in config.dynamic_eids
        ],
        "gateways": [
            {
                "interface": one.interface,
                "addresses": _interface_addresses(one.addresses),
                "mac": one.mac,
                "foreign": _interface_addresses(one.foreign),
            }
            for one in config.gateways
        ],
        "map_servers": [
            _address(one.address) | _key(one.key) | {"proxy_reply": one.proxy_reply} for one in config.map_servers
        ],
        "map_resolvers": [_address(one) for one in config.map_resolvers],
        "petrs": [_address(one) for one in config.petrs],
        "served": [
            {
                "name": site.name,
                "auth": [_key(one) for one in site.keys],
                "prefixes": [
                    _prefix(one.prefix)
                    | {"accept_more_specifics": one.accept_more_specifics, "proxy_reply": one.prefix in served}
                    for one in site.prefixes
                ],
            }
            for site in config.sites
        ],
        "delegations": [_prefix(one.prefix) | {"map_server": str(one.map_server)} for one in config.delegations],
        "eid_aggregates": [_prefix(one) for one in config.eid_aggregates],
        "rloc_space": [{"prefix": str(one), "version": one.version} for one in config.rloc_space],
        "core_mtu": config.core_mtu,
        "probing": config.probing,
        "registration_interval": config.registration_interval,
        "locator_status_bits": config.locator_status_bits,
        "path_mtu_discovery": config.path_mtu_discovery,
        "subscription_keys": [_key(one) for one in config.subscription_keys],
        "subscribers": [
            {
                "xtr_id": one.xtr_id,
                "site_id": one.site_id,
                "rlocs": [str(network) for network in one.rlocs],
                "auth": [_key(key) for key in one.keys],
            }
            for one in config.subscribers
        ],
        "time_scale": config.time_scale,
        "xtr_id": config.xtr_id,
        "site_id": config.site_id,
        "config": json.loads(config.to_json()),
        "directory": str(directory),
        "here": str(here),
        "checkout": str(CHECKOUT),
        "python": sys.executable,
    }


def _config(node: Node) -> NodeConfig:
    if node.lisp is None:
        raise ValueError(f"{node.name} is no LISP router")
    return node.lisp


def _replied_for(node: Node) -> list[EidPrefix]:
    """The prefixes that a node asks Map-Servers to answer for."""
    if node.lisp is None or not any(one.proxy_reply for one in node.lisp.map_servers):
        return []
    return [*(one.prefix for one in node.lisp.database), *(one.prefix for one in node.lisp.dynamic_eids)]


def _address(address: IPAddress) -> dict[str, Any]:
    return {"address": str(address), "version": address.version}


def _prefix(prefix: EidPrefix) -> dict[str, Any]:
    network = prefix.network
    return {"prefix": str(network), "version": network.version, "instance_id": prefix.instance_id}


def _key(key: Key) -> dict[str, Any]:
    return {"key_id": key.key_id, "algorithm": int(key.algorithm), "secret": key.secret}


def _rloc(topology: Topology, interface: Interface, address: IPAddress) -> dict[str, Any]:
    (mine,) = (one for one in interface.addresses if one.ip == address)
    peer = next(one for one in topology[interface.peer].interfaces if one.name == interface.peer_interface)
    gateway = next((str(one.ip) for one in peer.addresses if one.network == mine.network), "")
    return _address(address) | {
        "length": mine.network.prefixlen,
        "interface": interface.name,
        "gateway": gateway,
        "unique_local": address in _UNIQUE_LOCAL,
    }


def _interface(interface: Interface) -> dict[str, Any]:
    return {
        "name": interface.name,
        "peer": interface.peer,
        "side": interface.side or "",
        "mac": interface.mac,
        "mtu": interface.mtu,
        "instance_id": interface.instance_id,
        "addresses": _interface_addresses(interface.addresses),
    }


def _interface_addresses(addresses: tuple[IPInterface, ...]) -> list[dict[str, Any]]:
    return [_address(one.ip) | {"length": one.network.prefixlen} for one in addresses]


def _locators(locators: tuple[Locator, ...], own: Mapping[IPAddress, Interface]) -> list[dict[str, Any]]:
    return [
        _address(one.address)
        | {
            "priority": one.priority,
            "weight": one.weight,
            "via": [str(hop) for hop in one.via],
            "interface": own[one.address].name if one.address in own else "",
        }
        for one in locators
    ]
