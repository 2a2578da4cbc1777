"""uidtraced: which users' system calls are logged, from one YAML file, in the kernel."""

__version__ = "0.1.0"
