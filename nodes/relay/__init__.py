"""Delay lines: a process that holds back the frames of links that have a delay, where the kernel has no netem.

Each such link is cut in two: its ends lead into a network namespace of the relay, which passes every frame from one
half to the other when its time has come, in order.
"""
