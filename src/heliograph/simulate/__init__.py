"""Shop traffic over HTTP: what `heliograph simulate` sends, and the load generator of every benchmark.

`shop` invents the calls (pure, by seed), `shapes` says when they are due (pure), `client` sends them at that time
whether or not earlier ones were answered, `run` counts and prints.
"""

from heliograph.simulate.run import Options, Summary, simulate

__all__ = ["Options", "Summary", "simulate"]
