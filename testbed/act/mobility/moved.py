"""What a move of a host was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moved:
    """A host went from one site's fabric to another's, or a mobile node from one access network to another.

    Attributes:
        node: The host.
        origin: The site, or network, that it left.
        site: The one where it is now.
        unplugged: When its cable was pulled, and ``plugged``: when it was plugged in again (monotonic seconds).
    """

    node: str
    origin: str
    site: str
    unplugged: float
    plugged: float
