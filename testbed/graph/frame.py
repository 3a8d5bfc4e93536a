"""Rectangles: what boxes and areas of a drawing occupy."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle: its left upper corner and its size in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.x + self.width / 2, self.y + self.height / 2

    def moved(self, x: float, y: float) -> Frame:
        """The same frame elsewhere."""
        return replace(self, x=self.x + x, y=self.y + y)
