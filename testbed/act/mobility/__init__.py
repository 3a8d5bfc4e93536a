"""Hosts that move while their sessions live: the move, the probes, what was seen."""
