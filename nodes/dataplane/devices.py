"""The interfaces of a router, as its data path needs them: by their index, with the instance behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Devices:
    """Interfaces by index.

    Attributes:
        sites: The instance-ID of the hosts behind each site interface.
        core: The interfaces towards the RLOC space.
        tuns: The TUN device of each instance-ID.
    """

    sites: Mapping[int, int]
    core: tuple[int, ...]
    tuns: Mapping[int, int]
