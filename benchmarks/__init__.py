"""Benchmarks: ours and the peers in one process on the same tensors. ``python -m benchmarks``."""
