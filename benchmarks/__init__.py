"""Measurements, run by hand with `python -m benchmarks.NAME`. Times depend on the machine."""
