"""Benchmarks: `make bench`, or `python -m bench [NAME ...] [--quick] [--json FILE]`.

Each prints our figure beside its limit or a peer measured in the same run, and CPU time beside wall time: machines are
noisy, ratios are not.  What is missing on a machine is `not measured`, never guessed.  docs/performance.md has the
figures of one quiet run.
"""
