"""The interfaces of a router, as its data path needs them: by their index, with the instance behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Devices:
    """Interfaces by index.

    Attributes:
        sites: The instance-ID of the hosts behind each site interface.
        core: The interfaces towards the RLOC space.
        tuns: The TUN device of each instance-ID.
        transits: At an RTR with the kernel's programs, the device of each instance-ID by which the daemon gets what is
            on its way between other sites.
    """

    sites: Mapping[int, int]
    core: tuple[int, ...]
    tuns: Mapping[int, int]
    transits: Mapping[int, int] = field(default_factory=dict)
