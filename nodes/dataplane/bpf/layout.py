"""The Python side of ``maps.h``: the bytes of every key and value, the enumerations, which map holds what.

A test compares all of it with the types that clang finds in ``maps.h``, so the two cannot drift apart.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

MOST_CANDIDATES = 16
"""Locators of one mapping."""

MOST_LOCATORS = 1024
"""Locators of all mappings together."""

MOST_FLOWS = 128
"""Flows that are known at a time, by each CPU."""


class Action(IntEnum):
    """What becomes of a packet to a map-cache entry's EIDs."""

    STACK = 0
    ENCAPSULATE = 1
    PETR = 2


class LocalFlag(IntFlag):
    """What an address is to this site."""

    EID = 1
    DYNAMIC = 2
    HOST = 4


class AggregateFlag(IntFlag):
    """Which address space a prefix belongs to."""

    EID = 1
    RLOC = 2


class NativeRoute(IntEnum):
    """Whether a native route keeps a packet from being encapsulated."""

    NULL0 = 0
    STACK = 1


class RoleFlag(IntFlag):
    """The roles of a node, and whether it goes by the Locator-Status-Bits of others."""

    ITR = 1
    ETR = 2
    PITR = 4
    PETR = 8
    RTR = 16
    STATUS_BITS = 32


class EventKind(IntEnum):
    """What the programs tell."""

    SOURCE = 1
    ABSENT = 2
    STATUS = 3


class Statistic(IntEnum):
    """What the programs count."""

    ENCAPSULATED = 0
    ENCAPSULATED_BYTES = 1
    DECAPSULATED = 2
    DECAPSULATED_BYTES = 3
    NATIVE = 4
    REENCAPSULATED = 5
    TO_STACK = 6
    DROP_MALFORMED = 7
    DROP_ENCRYPTED = 8
    DROP_CONGESTION = 9
    DROP_KERNEL = 10
    EVENTS_LOST = 11


class Layout(struct.Struct):
    """The bytes of a C structure whose members stand side by side without gaps.

    Attributes:
        fields: Where each member stands: its first byte and its number of bytes.
    """

    def __new__(cls, **_members: str) -> Layout:
        """As :class:`struct.Struct` wants it."""
        return super().__new__(cls)

    def __init__(self, **members: str) -> None:
        """Declare the members by their names, in order.

        Args:
            members: Their formats; what is in network byte order or a structure itself is bytes, what is reserved "x".
        """
        super().__init__("=" + "".join(members.values()))
        ends = [struct.calcsize("=" + "".join(list(members.values())[: n + 1])) for n in range(len(members))]
        starts = [0, *ends[:-1]]
        self.fields = {name: (start, end - start) for name, start, end in zip(members, starts, ends, strict=True)}


EID_KEY = Layout(length="I", scope="4s", address="16s")
CANDIDATE = Layout(locator="H", priority="B", weight="B")
COUNTER = Layout(packets="Q", bytes="Q", last="Q")
MAPPING = Layout(
    action="B",
    count="B",
    open="B",
    bits="B",
    number="I",
    open_until="Q",
    counter=f"{COUNTER.size}s",
    candidates=f"{MOST_CANDIDATES * CANDIDATE.size}s",
)
LOCATOR = Layout(version="B", usable="B", mtu="H", reserved="4x", source="16s", address="16s")
LOCAL = Layout(flags="B", open="B", tells="B", reserved="x", status_bits="I", open_until="Q")
PORT = Layout(instance="I", device="I", gate="I")
RLOC_KEY = Layout(version="I", address="16s")
TRANSIT = Layout(device="I", gate="I", beside="I")
NO_GATE = 0xFFFFFFFF
GATE = Layout(punted="Q", handled="Q")
SETTINGS = Layout(enabled="I", roles="I", generation="I")
FLOW = Layout(
    generation="I",
    interface="I",
    until="Q",
    scope="4s",
    rloc_version="I",
    protocol="I",
    ports="I",
    source="16s",
    destination="16s",
    rloc="16s",
    own="16s",
    way="I",
    most="H",
    version="B",
    native="B",
    locator="H",
    bits="B",
    reserved="x",
    mapping="I",
    counter=f"{COUNTER.size}s",
    header="72s",
)
CONTACT_KEY = Layout(scope="4s", rloc_version="I", eid="16s", rloc="16s")
TOLD_KEY = Layout(kind="I", about=f"{CONTACT_KEY.size}s")
EVENT = Layout(kind="I", about=f"{CONTACT_KEY.size}s", interface="I", mac="6s", reserved="2x", status_bits="I")
NUMBER = struct.Struct("=I")
LONG = struct.Struct("=Q")

STRUCTS = {
    "eid_key": EID_KEY,
    "candidate": CANDIDATE,
    "counter": COUNTER,
    "mapping": MAPPING,
    "locator": LOCATOR,
    "local": LOCAL,
    "port": PORT,
    "transit": TRANSIT,
    "rloc_key": RLOC_KEY,
    "gate": GATE,
    "settings": SETTINGS,
    "flow": FLOW,
    "contact_key": CONTACT_KEY,
    "told_key": TOLD_KEY,
    "event": EVENT,
}
"""By their names in ``maps.h``."""

ENUMS: dict[str, tuple[type[IntEnum | IntFlag], str]] = {
    "action": (Action, "ACTION_"),
    "local_flag": (LocalFlag, "LOCAL_"),
    "aggregate_flag": (AggregateFlag, "AGGREGATE_"),
    "native_route": (NativeRoute, "NATIVE_"),
    "role_flag": (RoleFlag, "ROLE_"),
    "event_kind": (EventKind, "EVENT_"),
    "statistic": (Statistic, "STAT_"),
}
"""By their names in ``maps.h``, with what the names of their values begin with there."""

MAPS: dict[str, tuple[struct.Struct, struct.Struct]] = {
    "map_cache": (EID_KEY, MAPPING),
    "local": (EID_KEY, LOCAL),
    "aggregates": (EID_KEY, NUMBER),
    "native": (EID_KEY, NUMBER),
    "own": (RLOC_KEY, NUMBER),
    "ports": (NUMBER, PORT),
    "devices": (NUMBER, NUMBER),
    "transits": (NUMBER, TRANSIT),
    "locators": (NUMBER, LOCATOR),
    "locator_counters": (NUMBER, COUNTER),
    "gates": (NUMBER, GATE),
    "settings": (NUMBER, SETTINGS),
    "flows": (NUMBER, FLOW),
    "contacts": (CONTACT_KEY, LONG),
    "told": (TOLD_KEY, LONG),
    "statistics": (NUMBER, LONG),
}
"""The keys and values of the maps that the daemon writes and reads; ``events`` is a ring buffer of :data:`EVENT`."""
