"""The machines of a lab: Mininet node kinds, the LISP protocol, its data path and its daemon."""
