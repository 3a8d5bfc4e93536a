"""The tester: plays any part of LISP by hand, at any node of a lab, and sees what passes on any link.

- :mod:`.packets` writes and reads IP, UDP and LISP data packets; :mod:`.wire` LISP control messages.
- :mod:`.clock` says how long seconds of the protocol take, and judges times.
- :mod:`.players` are an ITR, an ETR, a Map-Server, a Map-Resolver and an attacker.
- :mod:`.cable` puts whole frames onto a link.
- :mod:`.watch` captures on links and waits for what passes; :mod:`.traffic` sends whole packets from nodes.
- :mod:`.offloads` switches offloads off where checksums or sizes are judged: ``Watch(…, exact=True)``.
- :mod:`.daemons` and :mod:`.counters` ask routers what they say of themselves; :mod:`.mappings` has packets show what
  the mapping system has of an EID; :mod:`.places` says where things are in a lab.

Nothing of the protocol comes from ``nodes``: what routers are sent is written, and what they send is read, by other
code.
"""
