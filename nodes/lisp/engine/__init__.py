"""The LISP control plane of one node: inputs and a clock go in, effects come out (RFC 9301).

``Engine`` joins the roles; each role is a class of its own, and knows nothing of the others:

- ``itr``: ITR and PITR; misses, Map-Replies, the map-cache. ``requests``: the Map-Requests under way.
- ``etr``: registration with Map-Servers, answers out of the site's database.
- ``map_server``, ``map_resolver``: the mapping system. ``replies``: which role answers a Map-Request, and how.

A PETR has no part in the control plane: it is a rule of the data path.
"""

from nodes.lisp.engine.core import Engine

__all__ = ["Engine"]
