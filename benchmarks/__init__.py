"""Measurements, run by hand: `python -m benchmarks.NAME`. They are not tests: times depend on the machine."""
