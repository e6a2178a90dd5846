"""The brain on Apache Flink.

`brain` wraps :mod:`heliograph.decide.keyed` in a keyed process function, `job` is the graph around it; both run in an
environment of their own (`make flink`), in which `events`, `decide` and this folder are all there is of Heliograph.
`preload` is imported there before anything else.  `cluster` talks to the JobManager; it runs where `heliograph` runs,
and never imports PyFlink.
"""

from typing import Final

JOB: Final = "heliograph"
"""The name of the job, before the prefix of its topics."""
KAFKA_VARIABLE: Final = "HELIOGRAPH_FLINK_KAFKA"
"""More properties of the Kafka clients, as JSON: how secrets reach the job, not by its arguments."""
