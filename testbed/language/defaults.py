"""What holds where a topology file says nothing, as its keys tell."""

from __future__ import annotations

DEFAULT_GATEWAY_MAC = "02:00:5e:00:01:01"
"""The MAC address of gateways for which the file names none: one for all sites, so that a host may go to any."""

DEFAULT_HOST_SILENCE, DEFAULT_HOST_PROBES = 60, 3
"""When a host that says nothing is asked for, in seconds, and how often before it is gone."""
