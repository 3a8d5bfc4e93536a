"""The instrument's test of itself: routers with a seeded defect each, which have to fail exactly one requirement.

``defects``
    What is broken, one entry for each requirement.
``router``
    Our daemon with a defect in it; a lab starts it as somebody's router.
``run``, ``command``
    Start the tests for each defect and compare their verdicts with those of the router as it is.
"""
