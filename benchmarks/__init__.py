"""Measurements against a real API server and a real domain controller: `python -m benchmarks`, or `make bench`."""
