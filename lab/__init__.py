"""The lab: a real Kubernetes API server and real Active Directory domain controllers (Samba) on one machine, without containers.

The demo, the integration tests and the benchmarks run against it. `python -m lab up` starts one for a person; the tests start their own.
"""
