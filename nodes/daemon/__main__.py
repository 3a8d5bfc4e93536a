"""Start one daemon: ``python -m nodes.daemon --config FILE --state-dir DIR --log FILE [--report-fd N]``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from nodes.daemon.daemon import Arguments, run


def main() -> int:
    """Read the arguments, run the daemon, return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m nodes.daemon", description="One LISP router (RFC 9300, RFC 9301).")
    parser.add_argument("--config", type=Path, required=True, help="the node's configuration, JSON")
    parser.add_argument("--state-dir", type=Path, required=True, help="where control.sock and state.jsonl stand")
    parser.add_argument("--log", type=Path, required=True, help="the log file, JSON lines")
    parser.add_argument("--report-fd", type=int, help='an inherited pipe for {"event": "listening"} and "registered"')
    given = parser.parse_args()
    stops = (signal.SIGTERM, signal.SIGINT)
    try:
        name = given.state_dir.resolve().name
        return run(Arguments(name, given.config, given.state_dir, given.log, given.report_fd, stops))
    except OSError as error:
        print(f"nodes.daemon: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
