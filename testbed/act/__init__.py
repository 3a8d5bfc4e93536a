"""What is done to a lab: traffic, faults, mobility."""
