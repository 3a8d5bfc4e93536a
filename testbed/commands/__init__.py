"""What each command does and prints. `tasks.py` declares the words; one function here carries out each of them."""

from testbed.commands.demos import demo
from testbed.commands.labs import down, execute, logs, move, restart, shell, status, up
from testbed.commands.proofs import ping, traffic
from testbed.commands.routers import SHOWN, key, lig, locator, show, verify
from testbed.commands.values import by_udp, instance_id, key_id, megabits, number, octet, seconds
from testbed.commands.worlds import doctor, generate, graph, validate

__all__ = [
    "SHOWN",
    "by_udp",
    "demo",
    "doctor",
    "down",
    "execute",
    "generate",
    "graph",
    "instance_id",
    "key",
    "key_id",
    "lig",
    "locator",
    "logs",
    "megabits",
    "move",
    "number",
    "octet",
    "ping",
    "restart",
    "seconds",
    "shell",
    "show",
    "status",
    "traffic",
    "up",
    "validate",
    "verify",
]
