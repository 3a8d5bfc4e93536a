"""Dynamic-EIDs: hosts are found by what they send, and their neighbours told what they cannot know (X01, X11, S06)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from nodes.daemon.admission import Admission
from nodes.daemon.ageing import Ageing
from nodes.daemon.announcer import Announcer
from nodes.daemon.arrivals import Arrivals
from nodes.daemon.neighbour_socket import NeighbourSocket
from nodes.daemon.plumbing import Plumbing
from nodes.daemon.proxy_replies import ProxyReplies
from nodes.dataplane.decision import Tables
from nodes.dataplane.neighbours import Arrived, Astray, Heard
from nodes.dataplane.path import DataPath
from nodes.dataplane.strangers import Stranger
from nodes.lisp.config import DynamicEid, NodeConfig
from nodes.lisp.effects import AddHost, BeGateway, FindHost, Forwarding, HostAway, HostHome, HostLeft, RemoveHost
from nodes.lisp.eid import EidPrefix, IPAddress, host_prefix
from nodes.lisp.eid_table import EidTable
from nodes.lisp.inputs import HostGone, HostSeen, HostsSeen, Input
from nodes.lisp.rate_limit import RateLimit

HOST_EFFECTS = (AddHost, RemoveHost, HostLeft, HostAway, HostHome, BeGateway, FindHost)

BETWEEN_CORRECTIONS = 0.1
"""Seconds after which the neighbours of a host that is here are told again where, if one still sends elsewhere."""

TOLD = 0.5
"""Seconds for which who sends to where a host was is not corrected: it was told when the host left, and what comes now
was under way. Where hundreds leave, that is hundreds of frames."""

NEIGHBOURS, EACH_NEIGHBOUR = 256, 0.02
"""How many new hosts of an IP version the kernel is told of: as many at once, then 50 a second. Its table has room for
1024, all namespaces of a machine together, and keeps each for 5 s: were it full of hosts that somebody made up, no
router could send. Of others the kernel asks when it has something for them."""

Said = Heard | Arrived | Astray


@dataclass(slots=True)
class _Host:
    """A dynamic-EID that is here, and what was overheard of it; ``seen`` is a time of the monotonic clock."""

    interface: str
    seen: float
    mac: bytes = b""


class DynamicEids:
    """The hosts of a router's dynamic prefixes.

    Attributes:
        counters: What was said on the site interfaces, by kind.
    """

    def __init__(
        self,
        config: NodeConfig,
        tables: Tables,
        plumbing: Plumbing,
        path: DataPath,
        step: Callable[[Input], None],
        report: Callable[[str, dict[str, Any]], None],
        now: Callable[[], float],
    ) -> None:
        """Overhear the site interfaces in the caller's network namespace.

        Args:
            config: The node's configuration.
            tables: What the data path decides by.
            plumbing: Adds host routes.
            path: The data path.
            step: Tells the engine what has happened.
            report: Writes an event and its fields into the log.
            now: The engine's clock.
        """
        self._tables, self._plumbing, self._path = tables, plumbing, path
        self._step, self._report, self._now = step, report, now
        self._permitted: EidTable[DynamicEid] = EidTable()
        for one in config.dynamic_eids:
            self._permitted.set(one.prefix, one)
        self._admission = Admission(tables, self._permitted, report)
        self._proxy = ProxyReplies(tables, self._permitted, path, step, time.monotonic)
        self._ageing = Ageing(self._permitted)
        searched = (*(one.prefix for one in config.dynamic_eids), *config.roaming)
        self._arrivals = Arrivals(searched, self._elsewhere)
        self._corrections: RateLimit[EidPrefix] = RateLimit(1, BETWEEN_CORRECTIONS)
        self._left: RateLimit[EidPrefix] = RateLimit(1, TOLD)
        self._neighbours: RateLimit[int] = RateLimit(NEIGHBOURS, EACH_NEIGHBOUR)
        served = {one.instance_id for one in searched}
        if config.map_notify_group is not None:
            served |= {one.prefix.instance_id for one in config.database}
        gateways = {one.interface: bytes.fromhex(one.mac.replace(":", "")) for one in config.gateways}
        self._ports = {
            NeighbourSocket(name, gateways.get(name, b"")): instance
            for name, instance in plumbing.sites.items()
            if instance in served
        }
        self._by_name = {port.interface: port for port in self._ports}
        # S06: where the gateway of each site has a MAC address of its own.
        self._differing = {one.interface for one in config.gateways if one.foreign and not one.mac}
        self._hosts: dict[EidPrefix, _Host] = {}
        self._away: set[EidPrefix] = set()
        # X09: of a site's xTRs one speaks to the hosts for others.
        self._speaks = config.map_notify_group is None
        self.counters: Counter[str] = Counter()
        self._announcers = {port: Announcer(port, self.counters, now) for port in self._ports}

    @property
    def readers(self) -> Mapping[int, Callable[[], None]]:
        """What to call when which descriptor can be read."""
        return {port.fileno(): partial(self._read, port) for port in self._ports}

    # What the engine decides

    @property
    def carries(self) -> Mapping[type, Callable[[Any], None]]:
        """What carries out which of :data:`HOST_EFFECTS`."""
        carried_out = (self.add, self.remove, self.left, self.away, self.home, self.be_gateway, self.find)
        return dict(zip(HOST_EFFECTS, carried_out, strict=True))

    def add(self, effect: AddHost) -> None:
        """A host is here (requirement X08)."""
        self._hosts.setdefault(effect.eid, _Host(effect.interface, time.monotonic())).interface = effect.interface
        self._ageing.heard(effect.eid, self._now())
        self._plumbing.add_host(effect.eid, effect.interface)
        self._path.add_host(effect.eid)

    def remove(self, effect: RemoveHost) -> None:
        """A host is here no longer."""
        host = self._hosts.pop(effect.eid, None)
        if host is not None and host.mac:
            self._arrivals.had(host.mac, effect.eid)
        self._ageing.forget(effect.eid)
        self._admission.forget(effect.eid)
        self._path.remove_host(effect.eid)
        self._plumbing.remove_host(effect.eid)

    def left(self, effect: HostLeft) -> None:
        """A host is behind another router: its neighbours here are to send to this one, at once."""
        host = self._hosts.get(effect.eid)
        self._announce(effect.eid, host.interface if host else self._plumbing.interface_of(effect.eid), None)
        self._left.allows(effect.eid, self._now())

    def away(self, effect: HostAway) -> None:
        """A host of the own subnet is elsewhere (X10): it is answered for at once, and its return noticed."""
        eid = effect.eid
        self._away.add(eid)
        self._permitted.set(eid, DynamicEid(eid, (), proxy_reply_requests=0))
        self._plumbing.except_host(eid)
        self._path.host_away(eid)

    def home(self, effect: HostHome) -> None:
        """It is one of its subnet's again."""
        self._away.discard(effect.eid)
        self._permitted.pop(effect.eid)
        self._plumbing.remove_host(effect.eid)
        self._path.host_home(effect.eid)

    def be_gateway(self, effect: BeGateway) -> None:
        """Be the hosts' gateway (X09): their switch is to learn which way it is. Or leave that to a peer."""
        self._plumbing.be_gateway(effect.active)
        self._speaks = effect.active
        for interface, address in self._plumbing.gateways.addresses() if effect.active else ():
            with suppress(OSError):  # the interface is down
                self._by_name[interface].announce(address.ip, None, address.ip)
        self._path.routes_changed()

    def find(self, effect: FindHost) -> None:
        """Ask for a host on its site interface; if it is there, its answer is overheard."""
        interface = effect.interface or self._plumbing.interface_of(effect.eid)
        port = self._by_name.get(interface or "")
        if port is None:
            return
        with suppress(OSError):  # the interface is down
            self._plumbing.forget_neighbour(effect.eid, port.interface)
        self._look_for(port, effect.eid.address)

    def installed(self, prefix: EidPrefix) -> None:
        """The mapping system has answered: so may we."""
        if self._speaks:
            self._proxy.installed(prefix)

    # What the data path tells, and the clock

    def found(self, strangers: Iterable[Stranger]) -> None:
        """X01: somebody sent packets with these sources. They are asked for on the site: a host is who answers."""
        for stranger in strangers:
            self._ask_on(self._plumbing.site_of(stranger.interface), stranger.eid)

    def seek(self, sought: Iterable[EidPrefix]) -> None:
        """X01: data came for these, and they are nowhere else: after a restart, hosts that are silent are not known."""
        for eid in sought:
            self.counters["sought-hosts-asked"] += self._ask_on(None, eid)

    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do, by the engine's clock."""
        said = (*(one.deadline() for one in self._announcers.values()), *(port.deadline() for port in self._ports))
        return min((one for one in (self._ageing.deadline(), *said) if one is not None), default=None)

    def expire(self) -> None:
        """X05: ask for hosts that have been silent; those that do not answer are gone."""
        for port, announcer in self._announcers.items():
            announcer.expire()
            port.listen(self._now())
        due = self._ageing.due(self._now())
        for eid in due.ask:
            host = self._hosts[eid]
            self.counters["silent-hosts-asked"] += 1
            self._ask(self._by_name[host.interface], eid.address, host.mac or None)
        for eid in due.gone:
            self._step(HostGone(eid, self._hosts[eid].interface))
            if eid in self._hosts:  # it may answer a peer
                self._ageing.heard(eid, self._now())

    # What is overheard

    def _read(self, port: NeighbourSocket) -> None:
        instance_id = self._ports[port]
        said = list(port.read(self._now()))
        if heard := self._admitted(said, instance_id):
            self._ask_for_others(port, heard)
            # By now a machine that has arrived has said its other address as well.
            said += (more := list(port.read(self._now())))
            self._notice(port, heard + self._admitted(more, instance_id))
        for one in said:
            if isinstance(one, Arrived):
                self._arrived(port, one.mac, instance_id)
            elif isinstance(one, Heard):
                self._asked(port, one, instance_id)
            elif self._is_of(host_prefix(one.who.sender, instance_id), one.mac):
                self._asked(port, one.who, instance_id)
                self._correct(port, one, instance_id)

    def _asked(self, port: NeighbourSocket, heard: Heard, instance_id: int) -> None:
        asked = host_prefix(heard.asked, instance_id) if heard.asked is not None else None
        if asked is not None and heard.misled and self._left.next(asked, self._now()) > self._now():
            return
        if self._speaks and asked is not None and not self._is_here(asked):
            self._proxy.asked(port, heard, asked)

    def _correct(self, port: NeighbourSocket, astray: Astray, instance_id: int) -> None:
        """X11: a host that came here still sends to one that is here too by the router of where it was."""
        eid = host_prefix(astray.who.asked, instance_id) if astray.who.asked is not None else None
        there = self._hosts.get(eid) if eid else None
        if eid is None or there is None or not there.mac or astray.to == there.mac or there.interface != port.interface:
            return
        if self._corrections.allows(eid, self._now()):
            self._announce(eid, port.interface, there.mac)

    def _admitted(self, said: Iterable[Said], instance_id: int) -> list[tuple[EidPrefix, Heard]]:
        """Who of those who spoke may be a host."""
        heard = []
        for one in said:
            if isinstance(one, Heard):
                eid, mac = host_prefix(one.sender, instance_id), one.mac.hex(":")
                if not self._is_own(eid) and self._admission.admits(eid, mac):
                    self._admission.took(eid, mac)
                    heard.append((eid, one))
        return heard

    def _ask_for_others(self, port: NeighbourSocket, heard: list[tuple[EidPrefix, Heard]]) -> None:
        """Who comes back with one address has its others as well: what is asked for now is registered together."""
        said = {eid for eid, _ in heard}

        def is_wanted(other: EidPrefix) -> bool:
            return other.instance_id == self._ports[port] and other not in said and other not in self._hosts

        for eid, one in heard:
            for other in self._arrivals.others(one.mac, is_wanted, self._now()) if eid not in self._hosts else ():
                self._ask(port, other.address, one.mac)

    def _notice(self, port: NeighbourSocket, heard: list[tuple[EidPrefix, Heard]]) -> None:
        """Hosts spoke; those who did so together, or one with all its addresses, are registered together."""
        known = {eid: (eid in self._hosts, eid in self._away) for eid, _ in heard}
        self._step(HostsSeen(tuple(HostSeen(eid, port.interface) for eid in known)))
        for eid, one in heard:
            was_here, was_away = known[eid]
            known[eid] = True, False
            returned = was_away and eid not in self._away
            if eid in self._hosts:
                self._keep(port, eid, one)
            else:
                self._admission.forget(eid)
            if returned or (eid in self._hosts and not was_here):
                self._welcome(port, one, eid)

    def _keep(self, port: NeighbourSocket, eid: EidPrefix, heard: Heard) -> None:
        """A host that is here was heard."""
        host = self._hosts[eid]
        if host.mac != heard.mac and (host.mac or self._neighbours.allows(eid.version, self._now())):
            with suppress(OSError):  # the interface is down
                self._plumbing.set_neighbour(eid, port.interface, heard.mac)
        host.mac, host.seen = heard.mac, time.monotonic()
        self._ageing.heard(eid, self._now())

    def _welcome(self, port: NeighbourSocket, heard: Heard, eid: EidPrefix) -> None:
        """A host came here: its neighbours are told, if it has not done so; and it, which way its gateway is."""
        if not heard.announced:
            self._announce(eid, port.interface, heard.mac)
        # S06: of the gateway it still has the MAC address that answered for that where it was.
        here = self._plumbing.own_addresses(port.interface, eid.version) if port.interface in self._differing else ()
        for gateway in here:
            with suppress(OSError):  # the interface is down
                port.answer(replace(heard, misled=True), gateway)

    def _arrived(self, port: NeighbourSocket, mac: bytes, instance_id: int) -> None:
        """X01: a machine of which only the MAC address is known; what it answers shows its addresses."""
        if self._admission.knows(mac.hex(":")):
            return
        asked = 0
        for address in self._arrivals.questions(mac, instance_id, self._now()):
            if not self._is_here(host_prefix(address, instance_id)):
                asked += self._ask(port, address, mac)
        for prefix, _ in self._permitted.items() if asked else ():
            source = self._plumbing.own_address(port.interface, prefix.address)
            if source and prefix.version == 6 and prefix.instance_id == instance_id and source in prefix.network:
                with suppress(OSError):
                    port.ping(mac, source)
        if asked:
            self.counters["machines-arrived"] += 1
            self.counters["arrived-machines-asked"] += asked
            self._report("machine-arrived", {"mac": mac.hex(":"), "interface": port.interface, "asked": asked})

    # What is said

    def _ask_on(self, interface: str | None, eid: EidPrefix) -> int:
        """Ask for a host on a site interface: this one, the one of its subnet, or all of its instance; how often."""
        interface = interface or self._plumbing.interface_of(eid)
        ports = (port for port, instance_id in self._ports.items() if instance_id == eid.instance_id)
        # It may be of another subnet, and be told of by a packet of which nobody knows where it came in.
        return sum(self._look_for(port, eid.address) for port in ports if interface in (port.interface, None))

    def _look_for(self, port: NeighbourSocket, address: IPAddress) -> bool:
        """Ask everybody for a host, even if the kernel does not take the question at once; False: by no own address."""
        own = self._plumbing.own_address(port.interface, address)
        if own is not None:
            self._announcers[port].ask(address, own)
        return own is not None

    def _ask(self, port: NeighbourSocket, address: IPAddress, mac: bytes | None) -> bool:
        """Ask for a host the machine that has this MAC address, or everybody; it will be asked again."""
        own = self._plumbing.own_address(port.interface, address)
        if own is None:
            return False
        with suppress(OSError):  # the interface is down
            port.ask(address, own, mac)
        return True

    def _announce(self, eid: EidPrefix, interface: str | None, mac: bytes | None) -> None:
        """Tell the neighbours of a host its MAC address; None is this router's."""
        port = self._by_name.get(interface or "")
        source = self._plumbing.own_address(port.interface, eid.address) if port else None
        if port is None or source is None or not self._speaks:
            return
        self._announcers[port].announce(eid.address, mac, source)

    # Tables

    def with_overheard(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The engine's table of dynamic-EIDs, each with its MAC address and when it was last overheard."""
        now = time.monotonic()
        there = {(str(eid.network), eid.instance_id): host for eid, host in self._hosts.items()}
        return [
            {**row, "mac": host.mac.hex(":"), "last_seen_s": round(now - host.seen, 1)}
            for row in rows
            if (host := there.get((row["eid"], row["instance_id"])))
        ]

    def close(self) -> None:
        """Close the sockets."""
        for port in self._ports:
            port.close()

    def _is_here(self, eid: EidPrefix) -> bool:
        """Whether an address is a host's of this site, or the router's own."""
        return bool(self._tables.native.get(eid))

    def _is_of(self, eid: EidPrefix, mac: bytes) -> bool:
        host = self._hosts.get(eid)
        return host is not None and host.mac == mac

    def _is_own(self, eid: EidPrefix) -> bool:
        return self._is_here(eid) and eid not in self._hosts

    def _elsewhere(self, prefix: EidPrefix) -> Iterable[EidPrefix]:
        """The hosts of a prefix that the map-cache knows to be behind other routers."""
        return (
            eid
            for eid, entry in self._tables.map_cache.covered(prefix)
            if eid.mask_len == eid.network.max_prefixlen and entry.forwarding is Forwarding.ENCAPSULATE
        )
