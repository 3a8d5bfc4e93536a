"""Pages that show what happened in a lab: one HTML file each, with all that it needs inside.

``templates/page.html`` is the frame, ``templates/parts.html`` has what pages are made of (macros), ``static/`` their
styles and scripts. A page extends the frame; its own templates may be anywhere. Packets and the like are packed
(:func:`pack`), and unpacked by the browser when somebody opens them. Everything is escaped: what a packet says is
text, wherever it appears; scripts run only if their hash is the one that the page names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent
STYLES = ("page", "evidence")
SCRIPTS = ("unpack", "figures", "evidence", "page")


def render(template: Path, styles: Iterable[Path] = (), scripts: Iterable[Path] = (), **values: Any) -> str:
    """A page.

    Args:
        template: Its template.
        styles: Style sheets of its own, besides those here.
        scripts: Scripts of its own, after those here.
        values: What it shows.
    """
    places = [template.parent, _HERE / "templates"]
    environment = Environment(
        loader=FileSystemLoader(places), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    sheets = [*(_HERE / "static" / f"{one}.css" for one in STYLES), *styles]
    style = "".join(one.read_text(encoding="utf-8") for one in sheets)
    sources = [*(_HERE / "static" / f"{one}.js" for one in SCRIPTS), *scripts]
    script = "".join(one.read_text(encoding="utf-8") for one in sources)
    files = {"style": Markup(style), "script": Markup(script)}
    return environment.get_template(template.name).render(**files, policy=_policy(style, script), **values)


def _policy(style: str, script: str) -> str:
    """A Content Security Policy: nothing from anywhere, and of what is inside only what we have written."""
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, script)]
    return f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:"


def pack(value: Any) -> str:
    """A value as text for a page, a tenth as long: JSON, deflated (zlib), base64."""
    octets = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(octets, 9)).decode()
