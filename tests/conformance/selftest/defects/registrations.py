"""Map-Registers and what answers them: keys, nonces, flags, how long they count (rows C19 to C26, C38, C39)."""

from __future__ import annotations

from tests.conformance.selftest.defect import Defect, Edit

_ENGINE = "nodes/lisp/engine/"

DEFECTS = (
    Defect(
        "C19",
        "of the nonces of a Map-Register only the last one is refused, older ones are taken",
        (
            Edit(
                f"{_ENGINE}map_server.py",
                "if register.nonce <= self._nonces.get(slot, -1):",
                "if register.nonce == self._nonces.get(slot, -1):",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "C20",
        "the Map-Server takes whatever algorithm the sender has chosen",
        (
            Edit(
                f"{_ENGINE}map_server.py",
                "if (key.key_id, key.algorithm) == (register.key_id, register.algorithm_id))",
                "if key.key_id == register.key_id)",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "C21",
        "after a change of keys the new Key ID stands over what the old key has signed",
        (
            Edit(
                f"{_ENGINE}registrar.py",
                "return sealed(register, key.secret)",
                "return sealed(register, peer.key.secret)",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C22",
        "the Site-ID behind a Map-Register is 0",
        (Edit(f"{_ENGINE}registrar.py", "site_id=config.site_id,", "site_id=0,"),),
        roles=("etr",),
    ),
    Defect(
        "C23",
        "a registration lasts three minutes, also where the T-bit has the Record TTL say how long",
        (
            Edit(
                "nodes/lisp/registrations.py", "if registration.use_ttl else self.timeout", "if False else self.timeout"
            ),
        ),
        roles=("map-server",),
        data_path="python",
    ),
    Defect(
        "C24",
        "who registers without the a-bit is merged with those who have it",
        (
            Edit(
                "nodes/lisp/registrations.py",
                "parts = self.parts(registration.record.prefix) if registration.merge else []",
                "parts = self.parts(registration.record.prefix)",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "C25",
        "a Map-Register that nobody acknowledges is sent again each second, for ever",
        (
            Edit(
                f"{_ENGINE}registrar.py",
                "chunk.backoff = min(2 * chunk.backoff, LONGEST_BACKOFF)",
                "chunk.backoff = FIRST_BACKOFF",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C26",
        "a Map-Notify follows where none was wanted",
        (Edit(f"{_ENGINE}map_server.py", "if register.want_notify:", "if register.records:"),),
        roles=("map-server",),
    ),
    Defect(
        "C38",
        "the Map-Server forgets all nonces when it restarts",
        (
            Edit(
                f"{_ENGINE}map_server.py",
                "if key.startswith(NONCES) and isinstance(value, int):",
                "if False:",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "C39",
        "the Map-Server tries its key whatever Key ID the Map-Register names",
        (
            Edit(
                f"{_ENGINE}map_server.py",
                "if (key.key_id, key.algorithm) == (register.key_id, register.algorithm_id))",
                "if key.algorithm == register.algorithm_id)",
            ),
        ),
        roles=("map-server",),
    ),
)
