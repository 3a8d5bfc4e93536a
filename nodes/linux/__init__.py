"""Calls into the Linux kernel that the standard library does not have: netlink, namespaces, TUN devices, ethtool."""
