"""The LISP protocol (RFC 9300, RFC 9301) without input or output: bytes and a clock go in, effects come out."""
