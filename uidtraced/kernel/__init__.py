"""The kernel: libbpf, maps, the ring buffer and the program. Knows nothing of YAML."""
