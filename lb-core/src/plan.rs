//! Plans: what must change in the kernel to get from what it has to what a configuration wants.
