"""The second opinion: what tshark makes of packets, and what the Scapy layers make of them, in tshark's names."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import NoPayload, Packet

from testbed.observe import scapy_lisp as lisp
from testbed.observe.scapy_lisp.lcaf import LCAF

Values = dict[str, list[Any]]

_LINKTYPE_RAW = 101
_ADDRESS = re.compile(r"[._](ipv4|ipv6|mac|dn|string)$")
_NO_SOURCE_EID = "not set"
_OCTETS = {"lisp.auth", "lisp.xtrid", "lisp.siteid", "lisp.lcaf.vendor.data"}
_PROTOCOLS = ("ip", "ipv6", "udp", "icmp", "lisp", "lisp-data", "data", "_ws.malformed", "_ws.short")
"""What tshark tells in full: the rest of a packet is nobody's question here."""
NOT_DISSECTED = "Not dissected yet (report to wireshark.org)"
"""What tshark says of LCAFs of which it knows the length only (RFC 8060 sections 4.7 and 5)."""
_COMPLAINTS = ("_ws.malformed", "_ws.short", "_ws.expert.message")


class Opinion:
    """What tshark says of one packet.

    Attributes:
        values: The values of each field, in the order of the packet; addresses of all families under one name.
        complaints: What it finds malformed or unexpected.
        undissected: How many octets it leaves as mere data, or None.
    """

    def __init__(self, element: ElementTree.Element) -> None:
        self.values: Values = defaultdict(list)
        self.complaints: list[str] = []
        self.undissected: int | None = None
        for field in element.iter():
            name, show = field.get("name", ""), field.get("show", "")
            if name.startswith(_COMPLAINTS):
                self.complaints.append(show or name)
            if name == "data.len":
                self.undissected = int(show)
            if name.startswith("lisp") and show not in ("", _NO_SOURCE_EID):
                value = field.get("value", "") if name in _OCTETS else _plain(show)
                self.values[_name(name)].append(value)


def ask(packets: Sequence[bytes], path: Path, *, inner: bool = True) -> list[Opinion]:
    """One run of tshark over IP packets. Without tshark the test is skipped.

    Args:
        packets: The packets, from their IP headers on.
        path: Where the capture is left.
        inner: Whether what is inside a data packet counts; if not, an opinion ends with the LISP header.
    """
    if not shutil.which("tshark"):
        pytest.skip("needs tshark")
    with path.open("wb") as capture:
        capture.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, _LINKTYPE_RAW))
        for number, octets in enumerate(packets):
            capture.write(struct.pack("<IIII", number, 0, len(octets), len(octets)) + octets)
    # RFC 9300 section 5.3: data packets have a zero UDP checksum over IPv6 too, which tshark finds illegal if not told.
    command = ["tshark", "-n", "-r", str(path), "-T", "pdml", "-o", "udp.ignore_ipv6_zero_checksum:TRUE"]
    command += ["-J", " ".join(_PROTOCOLS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tshark:
        assert tshark.stdout is not None
        opinions = list(_opinions(tshark.stdout, inner))
    assert tshark.returncode == 0, command
    assert len(opinions) == len(packets)
    return opinions


def _opinions(pdml: IO[bytes], inner: bool) -> Iterator[Opinion]:
    for _, element in ElementTree.iterparse(pdml):
        if element.tag == "packet":
            layers = list(element)
            header = next((at for at, one in enumerate(layers, 1) if one.get("name") == "lisp-data"), None)
            for one in () if inner or header is None else layers[header:]:
                element.remove(one)
            yield Opinion(element)
            element.clear()


def _name(name: str) -> str:
    return f"{_ADDRESS.sub('', name)} address" if _ADDRESS.search(name) or name == "lisp.loc.locator" else name


def _plain(value: Any) -> Any:
    """One form for numbers, addresses and names, whoever wrote them."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    for read in (lambda: int(text, 0), lambda: str(ip_address(text))):
        try:
            return read()
        except ValueError:
            continue
    return text


_ALL_LCAF = {
    "rsvd1": "lisp.lcaf.res1",
    "flags": "lisp.lcaf.flags",
    "type": "lisp.lcaf.type",
    "rsvd2": "lisp.lcaf.res2",
    "length": "lisp.lcaf.length",
}
_REGISTRATION = {
    "type": "lisp.type",
    "record_count": "lisp.records",
    "nonce": "lisp.nonce",
    "authentication_data_length": "lisp.authlen",
}

# What tshark calls the fields of each class.
FIELDS: dict[type[Packet], dict[str, str]] = {
    lisp.MapRequest: {
        "type": "lisp.type",
        "authoritative": "lisp.mreq.flags.auth",
        "map_data_present": "lisp.mreq.flags.mrp",
        "probe": "lisp.mreq.flags.probe",
        "smr": "lisp.mreq.flags.smr",
        "pitr": "lisp.mreq.flags.pitr",
        "smr_invoked": "lisp.mreq.flags.smri",
        "irc": "lisp.irc",
        "record_count": "lisp.records",
        "nonce": "lisp.nonce",
    },
    lisp.RequestRecord: {"eid_mask_len": "lisp.mreq.record.prefix.length"},
    lisp.MapReply: {
        "type": "lisp.type",
        "probe": "lisp.mrep.flags.probe",
        "echo_nonce": "lisp.mrep.flags.enlr",
        "security": "lisp.mrep.flags.sec",
        "reserved": "lisp.mrep.res",
        "record_count": "lisp.records",
        "nonce": "lisp.nonce",
    },
    lisp.MapRegister: {
        **_REGISTRATION,
        "proxy_map_reply": "lisp.mreg.flags.pmr",
        "security_capable": "lisp.mreg.flags.sec",
        "id_present": "lisp.mreg.flags.xtrid",
        "want_map_notify": "lisp.mreg.flags.wmn",
    },
    lisp.MapNotify: {**_REGISTRATION, "reserved": "lisp.mnot.res"},
    lisp.MapReferral: {
        "type": "lisp.type",
        "reserved": "lisp.mref.res",
        "record_count": "lisp.records",
        "nonce": "lisp.nonce",
    },
    lisp.ReferralRecord: {
        "record_ttl": "lisp.mapping.ttl",
        "referral_count": "lisp.mapping.loccnt",
        "eid_mask_len": "lisp.mapping.eid.masklen",
        "act": "lisp.mapping.act",
        "authoritative": "lisp.mapping.auth",
        "incomplete": "lisp.referral.incomplete",
        "reserved": "lisp.mapping.res1",
        "sig_cnt": "lisp.referral.sigcnt",
        "map_version_number": "lisp.mapping.ver",
    },
    lisp.InfoRequest: {
        "type": "lisp.type",
        "reply": "lisp.info.r",
        "nonce": "lisp.nonce",
        "key_id": "lisp.keyid",
        "authentication_data_length": "lisp.authlen",
        "ttl": "lisp.info.ttl",
        "eid_mask_len": "lisp.info.prefix.masklen",
    },
    lisp.EncapsulatedControlMessage: {
        "type": "lisp.type",
        "security": "lisp.ecm.flags.sec",
        "ddt": "lisp.ecm.flags.ddt",
        "reserved": "lisp.ecm.res",
    },
    lisp.EIDRecord: {
        "record_ttl": "lisp.mapping.ttl",
        "locator_count": "lisp.mapping.loccnt",
        "eid_mask_len": "lisp.mapping.eid.masklen",
        "act": "lisp.mapping.act",
        "authoritative": "lisp.mapping.auth",
        "reserved": "lisp.mapping.res1",
        "rsvd": "lisp.mapping.res2",
        "map_version_number": "lisp.mapping.ver",
    },
    lisp.RLOCRecord: {
        "priority": "lisp.loc.priority",
        "weight": "lisp.loc.weight",
        "m_priority": "lisp.loc.multicast_priority",
        "m_weight": "lisp.loc.multicast_weight",
        "unused_flags": "lisp.loc.flags.res",
        "local": "lisp.loc.flags.local",
        "probed": "lisp.loc.flags.probe",
        "reachable": "lisp.loc.flags.reach",
    },
    LCAF: _ALL_LCAF,
    lisp.InstanceID: {**_ALL_LCAF, "iid_mask_len": "lisp.lcaf.res2", "instance_id": "lisp.lcaf.iid"},
    lisp.ASNumber: {**_ALL_LCAF, "as_number": "lisp.lcaf.asn"},
    lisp.GeoCoordinates: {
        **_ALL_LCAF,
        "north": "lisp.lcaf.geo.lat.hemisphere",
        "latitude_degrees": "lisp.lcaf.geo.lat.deg",
        "latitude_minutes": "lisp.lcaf.geo.lat.min",
        "latitude_seconds": "lisp.lcaf.geo.lat.sec",
        "east": "lisp.lcaf.geo.lon.hemisphere",
        "longitude_degrees": "lisp.lcaf.geo.lon.deg",
        "longitude_minutes": "lisp.lcaf.geo.lon.min",
        "longitude_seconds": "lisp.lcaf.geo.lon.sec",
    },
    lisp.NATTraversal: {
        **_ALL_LCAF,
        "ms_udp_port": "lisp.lcaf.natt.msport",
        "etr_udp_port": "lisp.lcaf.natt.etrport",
    },
    lisp.NonceLocator: {**_ALL_LCAF, "reserved": "lisp.lcaf.nonce_loc.res", "nonce": "lisp.lcaf.nonce_loc"},
    lisp.MulticastInfo: {
        **{field: name for field, name in _ALL_LCAF.items() if field != "rsvd2"},  # tshark has flags there
        "instance_id": "lisp.lcaf.mcinfo_iid",
        "source_mask_len": "lisp.lcaf.mcinfo.src.masklen",
        "group_mask_len": "lisp.lcaf.mcinfo.grp.masklen",
    },
    lisp.ReencapHop: {
        "rsvd3": "lisp.lcaf.elp_hop.flags.res",
        "lookup": "lisp.lcaf.elp_hop.flags.local",
        "rloc_probe": "lisp.lcaf.elp_hop.flags.probe",
        "strict": "lisp.lcaf_elp_hop.flags.strict",
    },
    lisp.SourceDestKey: {
        **_ALL_LCAF,
        "source_ml": "lisp.lcaf.srcdst.src.masklen",
        "dest_ml": "lisp.lcaf.srcdst.dst.masklen",
    },
    lisp.ReplicationEntry: {"level_value": "lisp.lcaf.rle_entry.level"},
    lisp.LISPData: {
        "nonce_present": "lisp-data.flags.nonce",
        "lsb_enabled": "lisp-data.flags.lsb",
        "echo_nonce_request": "lisp-data.flags.enr",
        "map_version_present": "lisp-data.flags.mv",
        "instance_id_present": "lisp-data.flags.iid",
        "instance_id": "lisp-data.iid",
    },
}
FIELDS[lisp.JSONDataModel] = {**_ALL_LCAF, "binary": "lisp.lcaf.res2"}
del FIELDS[lisp.JSONDataModel]["rsvd2"]
FIELDS[lisp.InfoReply] = FIELDS[lisp.InfoRequest]

# Fields that hold an address; of an LCAF the fields inside count.
ADDRESSES: dict[type[Packet], dict[str, str]] = {
    lisp.MapRequest: {"source_eid": "lisp.mreq.srceid", "itr_rlocs": "lisp.mreq.itr_rloc"},
    lisp.RequestRecord: {"eid_prefix": "lisp.mreq.record.prefix"},
    lisp.EIDRecord: {"eid_prefix": "lisp.mapping.eid"},
    lisp.ReferralRecord: {"eid_prefix": "lisp.mapping.eid"},
    lisp.RLOCRecord: {"locator": "lisp.loc.locator"},
    lisp.InfoRequest: {"eid_prefix": "lisp.info.prefix"},
    lisp.InfoReply: {"eid_prefix": "lisp.info.prefix"},
    lisp.AFIList: {"addresses": "lisp.lcaf.afi_list"},
    lisp.InstanceID: {"address": "lisp.lcaf.iid"},
    lisp.ASNumber: {"address": "lisp.lcaf.asn"},
    lisp.GeoCoordinates: {"address": "lisp.lcaf.geo"},
    lisp.NATTraversal: dict.fromkeys(
        ("global_etr_rloc", "ms_rloc", "private_etr_rloc", "rtr_rlocs"), "lisp.lcaf.natt.rloc"
    ),
    lisp.NonceLocator: {"address": "lisp.lcaf.nonce_loc"},
    lisp.MulticastInfo: {"source": "lisp.lcaf.mcinfo.src", "group": "lisp.lcaf.mcinfo.grp"},
    lisp.ReencapHop: {"hop": "lisp.lcaf.elp_hop"},
    lisp.SourceDestKey: {"source_prefix": "lisp.lcaf.srcdst.src", "destination_prefix": "lisp.lcaf.srcdst.dst"},
    lisp.ReplicationEntry: {"address": "lisp.lcaf.rle_entry"},
    lisp.KeyValueAddressPair: {"address_as_key": "lisp.lcaf.kv_key", "address_as_value": "lisp.lcaf.kv_value"},
}

COMPARED = frozenset(
    {
        *(name for names in FIELDS.values() for name in names.values()),
        *(f"{name} address" for names in ADDRESSES.values() for name in names.values()),
        *("lisp.auth", "lisp.xtrid", "lisp.siteid", "lisp-data.nonce", "lisp-data.srcmapver", "lisp-data.dstmapver"),
        *("lisp-data.lsb", "lisp-data.lsb8"),
    }
)
"""Every name that :func:`opinion_of` may use: what tshark says under any of them has to be the same."""


def opinion_of(packet: Packet) -> Values:
    """What the Scapy layers say of a packet that they have dissected, in tshark's names."""
    found: Values = defaultdict(list)
    layer: Packet = packet
    while not isinstance(layer, NoPayload):
        for name, value in _layer(layer):
            found[name].append(value)
        layer = layer.payload
    return found


def disagreements(octets: bytes, opinion: Opinion) -> Iterator[str]:
    """Each field of which tshark and the Scapy layers say different things."""
    ours = opinion_of(IP(octets) if octets[0] >> 4 == 4 else IPv6(octets))
    for name in sorted(COMPARED):
        if ours.get(name, []) != opinion.values.get(name, []):
            yield f"{name}: Scapy layers {ours.get(name)}, tshark {opinion.values.get(name)}"


def _layer(packet: Packet) -> Iterator[tuple[str, Any]]:
    """Name and value of each field of a layer, and of those inside them, in their order."""
    kind = type(packet)
    names = next((FIELDS[one] for one in kind.__mro__ if one in FIELDS), {})
    addresses = ADDRESSES.get(kind, {})
    if isinstance(packet, lisp.Identity):
        yield from (("lisp.xtrid", packet.xtr_id.hex()), ("lisp.siteid", packet.site_id.hex()))
    if isinstance(packet, lisp.MapRegister | lisp.MapNotify):
        # tshark knows the Key ID of RFC 6833, 16 bits: since RFC 9301 section 5.6 these are Key ID and Algorithm ID.
        yield "lisp.keyid", packet.key_id << 8 | packet.algorithm_id
    if authentication := packet.fields.get("authentication_data"):
        yield "lisp.auth", authentication.hex()
    if isinstance(packet, lisp.LISPData):
        yield from _data(packet)
    for field in packet.fields_desc:
        value = packet.fields.get(field.name)
        if value is not None and field.name in names:
            yield names[field.name], int(value)
        if field.holds_packets and value is not None:
            for held in value if isinstance(value, list) else [value]:
                if hasattr(held, "address") and field.name in addresses and not isinstance(held, LCAF):
                    yield f"{addresses[field.name]} address", _plain(held.address)
                yield from _layer(held)


def _data(header: Packet) -> Iterator[tuple[str, Any]]:
    # tshark shows a nonce, a map-version or Locator-Status-Bits only where their bit is set, which is all they mean.
    if header.nonce_present:
        yield "lisp-data.nonce", header.nonce
    elif header.map_version_present:
        yield "lisp-data.srcmapver", header.source_map_version
        yield "lisp-data.dstmapver", header.dest_map_version
    if header.lsb_enabled:
        wide = not header.instance_id_present
        yield ("lisp-data.lsb", header.locator_status_bits) if wide else ("lisp-data.lsb8", header.lsbs)
