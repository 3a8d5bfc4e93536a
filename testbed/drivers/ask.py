"""Ask a daemon of ours by its control socket: ``python -m testbed.drivers.ask SOCKET OP [NAME=VALUE]...``.

The driver file ``lisp-testbed-daemon`` has it for its queries: prints the answer as JSON, or one line and status 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nodes.linux import unix_socket

_SECONDS = 30.0


def main(path: str, operation: str, *words: str) -> int:
    """Ask, print, return the exit status."""
    request: dict[str, Any] = {"op": operation}
    for word in words:
        name, _, value = word.partition("=")
        request[name] = json.loads(value)
    try:
        with unix_socket.connect(Path(path)) as connected, connected.makefile("rw") as lines:
            connected.settimeout(_SECONDS)
            lines.write(json.dumps(request) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    if not answer["ok"]:
        print(answer["error"], file=sys.stderr)
        return 1
    print(json.dumps(answer.get("data")))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
