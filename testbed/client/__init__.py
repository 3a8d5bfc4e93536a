"""The client's half of a lab: start its box, speak to its process, enter its nodes; ``testbed.lab`` joins them."""
