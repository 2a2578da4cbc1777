"""Benchmarks of the real daemon on this machine; `script/bench` runs them."""
