"""A resolved topology as a drawing: what is said, where it stands, what it looks like.

``figure`` says what is in the drawing, ``order`` and ``layout`` place it, ``svg`` draws it. The width of a text is
reckoned and not asked of the machine's fonts, so that the same topology is the same drawing everywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from testbed.graph.cards import with_cards
from testbed.graph.figure import figure_of
from testbed.graph.layout import place
from testbed.graph.svg import draw
from testbed.model import Topology

__all__ = ["graph"]


def graph(topology: Topology, marked: Collection[str] = ()) -> str:
    """Draw a topology as an SVG document.

    Args:
        topology: What is drawn.
        marked: Nodes that are to be seen at a glance, by name.
    """
    figure = figure_of(topology)
    boxes = {name: replace(box, marked=name in marked) for name, box in figure.boxes.items()}
    figure = with_cards(replace(figure, boxes=boxes))
    return draw(figure, place(figure))
