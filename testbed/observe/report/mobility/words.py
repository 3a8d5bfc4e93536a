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
    "first-packet": "right way",
}
"""What a kind of event is called."""

_SENTENCES = {
    "link-down": "{node} is unplugged {text}",
    "link-up": "{node} is plugged in {text}",
    "first-frame": "{node}'s first frame reaches {peer}: {text}",
    "detected": "{node} detects {text}",
    "map-register": "{node} registers {text} at {peer}",
    "map-notify": "{node} tells {peer} by a Map-Notify: {text}",
    "map-notify-ack": "{node} acknowledges to {peer}: {text}",
    "solicit-map-request": "{node} asks {peer} to look {text} up anew (SMR)",
    "map-request": "{node} asks {peer} for {text} (Map-Request)",
    "map-reply": "{node} answers {peer}: {text} (Map-Reply)",
    "map-cache": "{node}'s map-cache: {text}",
    "host-left": "{node} knows that its host has left: {text}",
    "first-packet": "{node} sends it the right way: {text}",
}


def sentence(event: Event) -> str:
    """An event as a sentence."""
    return _SENTENCES[event.kind].format(node=event.node, text=event.text, peer=event.peer or "somebody")


def milliseconds(seconds: float) -> str:
    """A time as people read it: one decimal below a second, none above."""
    return f"{seconds * 1000:.1f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"


def several(number: int, noun: str) -> str:
    """A number of things: "1 move", "2 moves"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
