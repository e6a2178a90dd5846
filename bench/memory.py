"""What idle people cost: bytes on disk beyond their traits, and memory of all processes."""

import asyncio
from pathlib import Path

import msgspec

from bench import traffic
from bench.figures import Report, amount
from bench.processes import rss_bytes
from bench.pump import pump
from bench.server import serving
from heliograph import decide
from heliograph.adapters.rocksdb import RocksStore
from heliograph.events.ids import bucket


def run(report: Report, folder: Path, quick: bool) -> None:
    people = 1_000 if quick else 1_000_000
    bodies = list(traffic.batches(traffic.identify(n) for n in range(people)))
    with serving(folder, "smtp://127.0.0.1:9") as server:
        empty = rss_bytes(server.family)
        asyncio.run(pump(server.url, bodies, 4))
        full, processes = rss_bytes(server.family), len(server.family)
    report.add(
        "memory", f"RSS of all processes with {people:,} profiles", full / 1e6, "MB", target="1,500 MB at 1M",
        processes=processes, note=f"{amount(empty / 1e6)} MB when empty; not extrapolated: caches are bounded",
    )  # fmt: skip
    _disk(report, folder / "data", people)


def _disk(report: Report, data: Path, people: int) -> None:
    store = RocksStore(data)
    try:
        blobs, keys, traits, after = 0, 0, 0, None
        while found := store.keys(after, 5_000):
            for key, blob in zip(found, store.states(found), strict=True):
                if blob is not None:
                    keys, blobs = keys + 1, blobs + len(blob) + len(key) + bucket(key).bit_length() // 8 + 1
                    traits += len(msgspec.msgpack.encode(decide.decode_state(blob).traits))
            after = found[-1]
    finally:
        store.close()
    report.add(
        "memory", "state of an idle profile beyond its traits", (blobs - traits) / people, "bytes", target="400",
        note=f"before compression; {keys / people:.0f} keys each (the person and the stub of the address), "
        f"traits {traits / people:.0f} bytes",
    )  # fmt: skip
    size = sum(file.stat().st_size for file in data.rglob("*") if file.is_file())
    report.add(
        "memory", "the data folder, for each profile", size / people, "bytes",
        note="all of it: state, log (P7D), history and journal of the one call that made the profile, indexes, WAL",
    )  # fmt: skip
