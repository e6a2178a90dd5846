"""One recorded log through Flink, Python in the JVM's threads and in processes beside it: decided as in memory, one by
one.  Memory against RocksDB: tests/parity."""

import pytest

from heliograph.config.settings import FlinkSetting, KafkaSetting
from heliograph.events.record import decode_record
from tests.parity.on_flink import OnFlink
from tests.parity.runtimes import remembered
from tests.parity.test_parity import seed

__all__ = ["seed"]

EVENTS = {"thread": 10_000, "process": 2_000}
SLOTS = {"thread": 2, "process": 1}


@pytest.mark.parametrize("mode", EVENTS)
async def test_flink_decides_as_memory_does(
    mode: str,
    seed: int,
    kafka: KafkaSetting,
    flink: FlinkSetting,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> None:
    events = pytestconfig.getoption("--records") or EVENTS[mode]
    recording, memory = remembered(tmp_path_factory.getbasetemp(), events, seed)
    reading, job = memory.reader(), OnFlink(kafka, flink, mode, SLOTS[mode])
    await job.feed(recording)
    with job.running():
        async for answer in job.answers(recording.records):
            reading.compare(answer)
    await job.close()
    reading.end()
    print(f"{mode}: {recording.records} records in {job.decided_s:.0f} s, {len(memory.hops)} hops")  # noqa: T201
    assert {decode_record(data).id: data for data in job.hops} == memory.hops
    assert len(job.hops) == len(memory.hops)
    assert {key for key, _ in job.wakes} <= memory.states.keys()
