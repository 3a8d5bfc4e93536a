"""The lab's own process, inside its box: it builds the Mininet network, runs the daemons and answers clients."""
