"""What happened, in plain words: the same for the terminal and for the page."""

from __future__ import annotations

from testbed.observe.timeline import Event

NAMES = {
    "link-down": "unplugged",
    "link-up": "plugged in",
    "first-frame": "first frame",
    "detected": "detected",
    "map-register": "Map-Register",
    "map-notify": "Map-Notify",
    "map-notify-ack": "Map-Notify-Ack",
    "solicit-map-request": "SMR",
    "map-request": "Map-Request",
    "map-reply": "Map-Reply",
    "map-cache": "map-cache",
    "host-left": "host left",
    "first-packet": "first packet",
}
"""What a kind of event is called."""

_MESSAGES = {
    "map-register": "registers {text} at {peer}",
    "map-notify": "tells {peer} by a Map-Notify: {text}",
    "map-notify-ack": "acknowledges to {peer}: {text}",
    "solicit-map-request": "asks {peer} to look anew (SMR): {text}",
    "map-request": "asks {peer} by a Map-Request: {text}",
    "map-reply": "answers {peer} by a Map-Reply: {text}",
}


def sentence(event: Event) -> str:
    """An event as a sentence."""
    words = _MESSAGES.get(event.kind)
    if words is not None and event.peer:
        return f"{event.node} {words.format(text=event.text, peer=event.peer)}"
    return f"{event.node}: {event.text}"


def milliseconds(seconds: float) -> str:
    """A time as people read it: one decimal below a second, none above."""
    return f"{seconds * 1000:.1f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"


def several(number: int, noun: str) -> str:
    """A number of things: "1 move", "2 moves"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
