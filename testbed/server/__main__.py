"""Start of the lab process: ``python -m testbed.server LAB RUN_DIR BOOT LOCK ORDER``, started by the box's init.

LAB and RUN_DIR are for whoever looks for labs that run;
BOOT is a socket to the client, LOCK the descriptor that says that the lab runs, ORDER a file with the pickled Order.
"""

from __future__ import annotations

import os
import resource
import sys
import time

from testbed.server.fork_server import ForkServer

_DESCRIPTORS = 1 << 16


def main() -> None:
    """Run the lab; the process's end is the lab's end."""
    boot_descriptor, lock, order_descriptor = (int(argument) for argument in sys.argv[3:6])
    for descriptor in (boot_descriptor, lock, order_descriptor):
        os.set_inheritable(descriptor, False)
    started = time.monotonic()
    _allow_descriptors()  # the fork server too, which has one for each daemon
    fork_server = ForkServer()
    # The fork server imports the daemon on the other core while we import the rest.
    import asyncio
    import pickle
    import socket

    from testbed.server.lab_process import LabProcess

    with open(order_descriptor, "rb") as order:
        wanted = pickle.load(order)

    async def run() -> None:
        await LabProcess(wanted, started).run(socket.socket(fileno=boot_descriptor), fork_server)

    asyncio.run(run())
    os._exit(0)  # nothing to tidy up: the kernel ends the box


def _allow_descriptors() -> None:
    """Each node takes a few descriptors of this process; the usual soft limit is enough for some hundred nodes only."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(_DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


if __name__ == "__main__":
    main()
