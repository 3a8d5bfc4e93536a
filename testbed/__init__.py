"""Builds, drives and observes a lab. From outside, it is a client of the lab's own process."""
