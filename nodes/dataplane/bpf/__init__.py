"""The data path in the kernel: tc programs in C, what compiles them, and the layout of the maps that they share."""
