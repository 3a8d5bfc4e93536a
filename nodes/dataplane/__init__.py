"""The data path of a LISP router (RFC 9300): the forwarding decision, and the Python loop around a TUN device."""
