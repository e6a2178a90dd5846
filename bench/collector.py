"""The collector of several machines beside the server of one: ``python -m bench.collector [SECONDS]``.

Real Kafka and PostgreSQL from ``deploy/local``, one broker on this very machine: its own CPU time is told apart.  Not
part of ``make bench``, which needs no servers.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.local.cluster import Cluster

from bench.figures import amount
from bench.ingest import BATCH_CONNECTIONS, BATCHES, CONNECTIONS, SINGLE, Hammered, hammer
from bench.processes import cpu_s
from bench.server import Server, serving
from bench.traffic import BATCH
from heliograph.adapters.kafka import ensure_topics
from heliograph.adapters.sql import migrating
from heliograph.config.settings import KafkaSetting


@contextlib.contextmanager
def collecting(folder: Path, **more: str) -> Iterator[tuple[Server, Cluster]]:
    """``heliograph serve --role all`` takes the events; the brain is nobody, so nothing is decided."""
    cluster = Cluster(folder / "cluster")
    cluster.start("kafka", "postgres")
    try:
        brokers, url = str(cluster.addresses["kafka"]["brokers"]), str(cluster.addresses["postgres"]["url"])
        ensure_topics(KafkaSetting(brokers=brokers, partitions=4, replication=1))
        migrating.upgrade(url)
        shared = {
            "HELIOGRAPH_KAFKA_BROKERS": brokers, "HELIOGRAPH_KAFKA_PARTITIONS": "4",
            "HELIOGRAPH_KAFKA_REPLICATION": "1", "HELIOGRAPH_POSTGRES_URL": url, **more,
        }  # fmt: skip
        os.environ.update(shared)
        try:
            with serving(folder, "smtp://127.0.0.1:9") as server:
                yield server, cluster
        finally:
            for name in shared:
                del os.environ[name]
    finally:
        cluster.stop()


def measured(server: Server, folder: Path, seconds: float) -> dict[str, tuple[Hammered, int]]:
    """What wrk saw, and events in a request."""
    found = {}
    for name, script, connections, events in (
        ("one event a request", SINGLE, CONNECTIONS, 1),
        (f"batches of {BATCH}", BATCHES, BATCH_CONNECTIONS, BATCH),
    ):
        hammer(folder, server.url, script, connections, 1, server.process.pid)
        found[name] = hammer(folder, server.url, script, connections, seconds, server.process.pid), events
    return found


def broker_pids(cluster: Cluster) -> list[int]:
    return [pid for name in cluster.names("kafka") for pid in cluster.pids(name)]


def tell(where: str, found: dict[str, tuple[Hammered, int]]) -> None:
    for name, (one, events) in found.items():
        said = f"{amount(one.rate * events)} events/s, {one.cpu_us / events:.0f} us CPU an event"
        print(f"{where}, {name}: {said}, {one.text}")


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "alone").mkdir()
        with serving(folder / "alone", "smtp://127.0.0.1:9") as server:
            tell("one machine (durable and decided)", measured(server, folder, seconds))
        with collecting(folder) as (server, cluster):
            before = cpu_s(broker_pids(cluster))
            found = measured(server, folder, seconds)
            tell("collector (acknowledged by Kafka)", found)
            events = sum(one.requests * each for one, each in found.values())
            print(f"the broker: {(cpu_s(broker_pids(cluster)) - before) / events * 1e6:.0f} us CPU an event")
            cluster.pause("kafka")
            tell("collector, Kafka away (spool)", measured(server, folder, seconds))
            cluster.resume("kafka")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
