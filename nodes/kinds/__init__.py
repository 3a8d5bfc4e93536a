"""The machines of a lab as Mininet nodes, links and interfaces: Mininet's API over netlink instead of shells.

Stock Mininet starts a shell in every node and configures it by typing ``ifconfig``: 91 % of its start-up is waiting for
those shells. Here a node is a network namespace held by a descriptor and configured by netlink; its shell starts at the
first ``cmd``.
"""
