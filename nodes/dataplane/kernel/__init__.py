"""The fast path's side of a router: what the engine knows, written into the kernel's maps (``bpf/maps.h``)."""
