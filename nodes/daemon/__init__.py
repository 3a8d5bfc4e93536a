"""The process of one LISP router: clock, event loop, control plane ports, control socket, state and log.

It joins the engine, which has no input or output, with the data path, which opens the sockets of its own packets.
"""
