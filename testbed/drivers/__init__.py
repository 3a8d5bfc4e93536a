"""Implementations of LISP: how each is configured from a resolved topology, started, known to be ready, asked, stopped.

Ours is what every LISP node runs unless somebody says otherwise. Every other one is a YAML file (``table.py`` has its
keys): those that come with the testbed are in ``shipped/``, and anybody can write one.
"""

from testbed.drivers.driver import OURS, Driver, NotTold, Unusable, driver, shipped

__all__ = ["OURS", "Driver", "NotTold", "Unusable", "driver", "shipped"]
