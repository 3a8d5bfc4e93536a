"""Tables for people, in the field's own words. Rich draws them; every function here takes plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testbed.model import Path

if TYPE_CHECKING:
    from testbed.act.iperf import Flow
    from testbed.act.ping import PairResult
    from testbed.act.traffic import TrafficResult
    from testbed.doctor import Finding

_WIDEST = 400

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], Any]]


def draw(drawn: Table, title: str) -> None:
    """Print a table under its title, as wide as it needs to be: a word broken in two can be neither read nor copied."""
    if not drawn.row_count:
        print(f"{title}: empty")
        return
    print(title)
    console = _console()
    console = _console(console.measure(drawn, options=console.options.update(max_width=_WIDEST)).maximum)
    with console.capture() as capture:
        console.print(drawn)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _console(width: int | None = None) -> Console:
    """Prints text as it is: in an IPv6 address, Rich would take ":a:" for an emoji."""
    return Console(highlight=False, emoji=False, markup=False, width=width)


def _duration(seconds: float | None) -> str:
    """Seconds as routers print them: 00:01:02, or a dash."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _locators(row: Row) -> str:
    """A locator-set, one RLOC a line with priority/weight and state."""
    lines = []
    for one in row.get("locators", ()):
        state = f" {one['state']}" if one.get("state") else ""
        lines.append(f"{one['rloc']} {one['priority']}/{one['weight']}{state}")
    return "\n".join(lines) or "-"


def _map_servers(row: Row) -> str:
    return "\n".join(f"{one['address']} {one['state']}" for one in row["map_servers"]) or "-"


def _field(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


_SHOWN_ADDRESSES = 6


def _some(addresses: Sequence[str]) -> str:
    """Addresses in one line; of a router with very many, how many more there are."""
    more = len(addresses) - _SHOWN_ADDRESSES
    return " ".join(addresses[:_SHOWN_ADDRESSES]) + (f" and {more} more" if more > 0 else "")


def _state(row: Row) -> str:
    """A node's state; of a daemon that ended, how."""
    status = row.get("exit_status")
    if status is None:
        return str(row["state"])
    return f"{row['state']} ({f'signal {-status}' if status < 0 else f'status {status}'})"


_ACTIONS = (
    "no-action",
    "natively-forward",
    "send-map-request",
    "drop/no-reason",
    "drop/policy-denied",
    "drop/auth-failure",
)
"""The ACT values of a negative Map-Reply (RFC 9301 section 5.4)."""


def _reply_action(row: Row) -> str:
    """What a Map-Reply's record tells an ITR to do."""
    if row["locators"]:
        return "encapsulate"
    return _ACTIONS[row["action"]] if row["action"] < len(_ACTIONS) else f"unassigned ({row['action']})"


_EID: list[Column] = [("Instance-ID", _field("instance_id")), ("EID-prefix", _field("eid"))]
_USES: list[Column] = [
    ("Packets", lambda row: row.get("packets")),
    ("Bytes", lambda row: row.get("bytes")),
    ("Last used", lambda row: _duration(row.get("idle_s"))),
]
_LOCATORS: Column = ("RLOC priority/weight", _locators)

COLUMNS: Mapping[str, Sequence[Column]] = {
    "map-cache": [
        *_EID,
        ("Action", _field("action")),
        _LOCATORS,
        ("Uptime", lambda row: _duration(row["uptime_s"])),
        ("Expires", lambda row: _duration(row["expires_s"])),
        ("Learned by", _field("source")),
        *_USES,
    ],
    "locators": [
        ("RLOC", _field("rloc")),
        ("State", lambda row: f"{row['state']}: {row['why']}" if row["why"] else row["state"]),
        ("For", lambda row: _duration(row["since_s"])),
        ("RTT", lambda row: "-" if row["rtt_ms"] is None else f"{row['rtt_ms']:.1f} ms"),
        ("Last answer", lambda row: "-" if row["last_answer_s"] is None else f"{row['last_answer_s']:.0f} s ago"),
        ("Probes answered/sent", lambda row: f"{row['probes_answered']}/{row['probes_sent']}"),
        ("Path MTU", lambda row: row["path_mtu"] or "-"),
        *_USES,
    ],
    "contacts": [
        ("Instance-ID", _field("instance_id")),
        ("EID", _field("eid")),
        ("RLOC", _field("rloc")),
        ("Last data", lambda row: _duration(row["idle_s"])),
    ],
    "verify": [
        ("Kernel's map", _field("table")),
        ("Entry", _field("key")),
        ("In the kernel", _field("kernel")),
        ("By the engine", _field("engine")),
    ],
    "database": [
        *_EID,
        _LOCATORS,
        ("Record TTL", lambda row: f"{row['ttl_minutes']} min"),
        ("Map-Servers", _map_servers),
    ],
    "registrations": [
        ("Site", _field("site")),
        *_EID,
        ("State", _field("state")),
        ("Registered by", _field("etr")),
        _LOCATORS,
        ("Proxy-reply", _field("proxy_reply")),
        ("Age", lambda row: _duration(row["age_s"])),
        ("Expires", lambda row: _duration(row["expires_s"])),
    ],
    "subscriptions": [
        *_EID,
        ("From", _field("from")),
        ("To", _field("to")),
        ("xTR-ID", _field("xtr_id")),
        ("State", _field("state")),
        ("For", lambda row: _duration(row["since_s"])),
    ],
    "lig": [
        *_EID,
        ("Action", _reply_action),
        _LOCATORS,
        ("Record TTL", lambda row: f"{row['ttl_minutes']} min"),
        ("Authoritative", _field("authoritative")),
    ],
    "locator": [*_EID, _LOCATORS],
    "dynamic-eids": [
        *_EID,
        ("Interface", _field("interface")),
        ("MAC", _field("mac")),
        ("State", _field("state")),
        ("Found", lambda row: _duration(row["found_s"])),
        ("Last seen", lambda row: _duration(row["last_seen_s"])),
    ],
    "interfaces": [
        ("Interface", _field("name")),
        ("Side", _field("side")),
        ("Addresses", _field("addresses")),
        ("MTU", _field("mtu")),
        ("RX packets", _field("rx_packets")),
        ("TX packets", _field("tx_packets")),
    ],
    "status": [
        ("Node", _field("name")),
        ("Kind", _field("kind")),
        ("Roles", lambda row: " ".join(row["roles"])),
        ("Runs", lambda row: row.get("implementation", "")),
        ("Site", _field("site")),
        ("Addresses", lambda row: _some(row["addresses"])),
        ("State", _state),
        ("PID in the lab", _field("pid")),
    ],
}
"""The columns of each table: its title and what stands in it."""


def _text(value: Any) -> str:
    """A cell: lists one item a line, nothing as a dash, truth as yes and no."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "\n".join(str(one) for one in value)
    return str(value)


def table(what: str, rows: Iterable[Row]) -> Table:
    """The table called ``what`` (a key of :data:`COLUMNS`)."""
    columns = COLUMNS[what]
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading, _ in columns:
        drawn.add_column(heading)
    for row in rows:
        drawn.add_row(*(_text(cell(row)) for _, cell in columns))
    return drawn


_WORDS = {
    "dataplane": "Data plane",
    "name": "Node",
    "roles": "Roles",
    "rlocs": "RLOCs",
    "xtr_id": "xTR-ID",
    "site_id": "Site-ID",
    "map_resolvers": "Map-Resolvers",
    "map_servers": "Map-Servers",
    "petrs": "PETRs",
    "eid_aggregates": "EID aggregates",
    "control": "Control messages",
    "data": "Data packets",
    "drops": "Drops",
    "held": "Held packets",
}
"""What a person calls the facts that a daemon tells."""


def facts(data: Mapping[str, Any]) -> Table:
    """Names and values; of a mapping inside, each name is a line of its own under the mapping's name."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    for name, value in data.items():
        words = _WORDS.get(name, name)
        if name == "dataplane" and isinstance(value, Mapping):
            # As `up` says it.
            rest = {inner: each for inner, each in value.items() if inner not in ("runs", "why")}
            value = {"runs": f"{value['runs']} ({value['why']})", **rest}
        if isinstance(value, Mapping):
            for inner, number in value.items():
                drawn.add_row(words, inner.replace("_", " "), _text(number))
                words = ""
        else:
            drawn.add_row(words, _text(value))
    return drawn


def examination(findings: Iterable[Finding]) -> Table:
    """What the machine offers; of what is missing, what that costs."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "Found", "Version, or why not", "What goes without it"):
        drawn.add_column(heading)
    for one in findings:
        style = "" if one.found else "bold red" if one.needed else "yellow"
        cells = (one.name, "yes" if one.found else "no", one.detail, "" if one.found else one.cost)
        drawn.add_row(*(Text(cell, style=style) for cell in cells))
    return drawn


def throughput(result: TrafficResult) -> Table:
    """Each flow of a load and all of them together, with the tunnels that they took."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    special = ("Packets", "Lost", "Jitter ms", "Out of order") if result.load.udp else ("Retransmissions", "RTT ms")
    drawn.add_column("From port")
    for heading in ("Mbit/s sent", "Mbit/s received", *special):
        drawn.add_column(heading, justify="right")
    drawn.add_column("Encapsulated to RLOC")
    for flow, tunnels in zip(result.report.flows, result.tunnels, strict=True):
        rlocs = ", ".join(dict.fromkeys(str(one.destination) for one in tunnels))
        drawn.add_row(str(flow.port), *_flow_cells(flow, result.load.udp), rlocs or "-")
    if len(result.report.flows) > 1:
        drawn.add_section()
        drawn.add_row("all", *_flow_cells(result.total, result.load.udp), "", style="bold")
    return drawn


def _flow_cells(flow: Flow, udp: bool) -> list[str]:
    rates = [f"{flow.sent_mbps:.2f}", f"{flow.received_mbps:.2f}"]
    if udp:
        lost = f"{flow.lost} ({100 * (flow.lost or 0) / flow.packets:.2f} %)" if flow.packets else "-"
        return [*rates, _text(flow.packets), lost, _milliseconds(flow.jitter_ms), _text(flow.out_of_order)]
    return [*rates, _text(flow.retransmissions), _milliseconds(flow.rtt_ms)]


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


_LOOK = {
    Path.LOCAL: ("local", "dim"),
    Path.ENCAPSULATED: ("LISP", "green"),
    Path.REENCAPSULATED: ("RTR", "blue"),
    Path.PROXIED: ("proxy", "cyan"),
    Path.NATIVE: ("native", "yellow"),
    Path.UNREACHABLE: ("none", "magenta"),
}
"""The word and the colour of a path in a matrix."""

_MATRIX_HOSTS = 16
_LISTED_PAIRS = 64


def reachability(pairs: Sequence[PairResult]) -> dict[str, Table]:
    """A matrix of hosts for each IP version, by its title: by which path each reached each, and how fast.

    With more hosts than a terminal has room for it is a list, if that is not too long either.
    """
    if len({pair.source for pair in pairs}) > _MATRIX_HOSTS:
        return {"path and round-trip time in ms": _list(pairs)} if len(pairs) <= _LISTED_PAIRS else {}
    return {
        f"IPv{version}: path and round-trip time in ms, row to column": _matrix(
            [pair for pair in pairs if pair.version == version]
        )
        for version in sorted({pair.version for pair in pairs})
    }


def _list(pairs: Sequence[PairResult]) -> Table:
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("from", "to", "IP", "path", "seen in the core"):
        drawn.add_column(heading)
    for pair in pairs:
        drawn.add_row(pair.source, pair.destination, f"v{pair.version}", _pair_cell(pair), pair.evidence)
    return drawn


def _matrix(pairs: Sequence[PairResult]) -> Table:
    names = list(dict.fromkeys(pair.source for pair in pairs))
    found = {(pair.source, pair.destination): pair for pair in pairs}
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("from \\ to", style="bold")
    for name in names:
        drawn.add_column(name, justify="right")
    for source in names:
        cells: list[Text] = []
        for destination in names:
            pair = found.get((source, destination))
            cells.append(Text("") if pair is None else _pair_cell(pair))
        drawn.add_row(source, *cells)
    return drawn


def _pair_cell(pair: PairResult) -> Text:
    time = "" if pair.rtt_ms is None else f" {pair.rtt_ms:.1f}"
    word, style = _LOOK[pair.seen]
    return Text(f"{word}{time}", style=style) if pair.ok else Text(f"FAIL {word}{time}", style="bold red")
