"""The LISP control plane of one node: inputs and a clock go in, effects come out (RFC 9301).

``Engine`` joins the roles; each role is a class of its own, and knows nothing of the others:

- ``itr``: ITR and PITR; misses, Map-Replies, the map-cache. ``requests``: the Map-Requests under way.
- ``etr``: the site's ``database``, hosts found one by one included; the ``registrar`` tells the Map-Servers, the
  ``solicitor`` those who have cached something else.
- ``map_server``, ``map_resolver``: the mapping system.
- ``mappings``: what they all together say about an EID. ``replies``: who gets that answer, and how often.

A PETR has no part in the control plane: it is a rule of the data path.
"""

from nodes.lisp.engine.core import Engine

__all__ = ["Engine"]
