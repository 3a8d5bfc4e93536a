"""Lines of text and how much room they take, without asking for fonts."""

from __future__ import annotations

from dataclasses import dataclass

_WIDTHS = {0.32: " .,·|", 0.34: ":/-iljI()", 0.42: "ftr", 0.53: "cksvxyz", 0.98: "mwMW→%"}
_WIDTH = {character: width for width, characters in _WIDTHS.items() for character in characters}
_OTHERS = 0.64  # digits and most letters

LEADING = 1.3
"""The distance of two lines, in text sizes."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text.

    Attributes:
        text: What it says.
        size: In pixels.
        bold: Whether it stands out.
    """

    text: str
    size: float = 10.5
    bold: bool = False

    @property
    def width(self) -> float:
        """About how many pixels it takes in DejaVu Sans, the widest of the fonts that it may be shown in."""
        width = sum(_WIDTH.get(character, _OTHERS) for character in self.text) * self.size
        return width * 1.1 if self.bold else width

    @property
    def height(self) -> float:
        """How many pixels it takes with the space to the next."""
        return self.size * LEADING


def width_of(lines: tuple[Line, ...]) -> float:
    """The width of the widest."""
    return max((line.width for line in lines), default=0.0)


def height_of(lines: tuple[Line, ...]) -> float:
    """The height of all, one below the other."""
    return sum(line.height for line in lines)
