"""Generic netlink: which families the kernel knows (kernel documentation "genetlink-legacy")."""

from __future__ import annotations

import os
import socket
import struct

from nodes.linux.netlink import NLM_F_ACK, NLM_F_REQUEST, messages, text_attribute

_NETLINK_GENERIC = 16
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 16, 3, 2
_NLMSG_ERROR = 2


def find_family(name: str) -> None:
    """Ask for a family; the kernel loads the module that brings it, if there is one.

    Raises:
        OSError: There is none.
    """
    body = struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + text_attribute(_CTRL_ATTR_FAMILY_NAME, name)
    header = struct.pack("=IHHII", 16 + len(body), _GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC) as kernel:
        kernel.send(header + body)
        for kind, _, _, payload in messages(kernel.recv(1 << 16)):
            error = -struct.unpack_from("=i", payload)[0] if kind == _NLMSG_ERROR else 0
            if error:
                raise OSError(error, f"generic netlink family {name}: {os.strerror(error)}")
