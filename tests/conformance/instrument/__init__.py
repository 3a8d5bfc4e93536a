"""The instrument: runs the tests that are marked with requirements, and derives verdicts from their outcomes alone."""
