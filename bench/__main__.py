"""``python -m bench``: every benchmark, or those named."""

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Report

NAMES = (
    "latency", "ingest", "stages", "decide", "mail", "neighbours", "broadcast", "render", "timers", "publish",
    "backtest", "memory", "kill",
)  # fmt: skip
"""Each is a module with ``run(report, folder, quick)``."""
WITH_SERVERS = ("scaled", "pipeline")
"""Only when named: they need Kafka, Flink and PostgreSQL (``sh scripts/servers.sh``, ``make flink``)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES + WITH_SERVERS))
    parser.add_argument("--quick", action="store_true", help="a second or two of each: does it run at all?")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--data", type=Path, help="a folder on the disk to measure (default: the temporary one)")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES + WITH_SERVERS)):
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES + WITH_SERVERS)}")
    report = Report()
    for name in options.names or NAMES:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-", dir=options.data) as folder:
            importlib.import_module(f"bench.{name}").run(report, Path(folder), options.quick)
        print(f"# {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    report.table()
    if options.json:
        report.save(options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
