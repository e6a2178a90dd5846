"""One recorded log through memory and RocksDB: decided alike, one by one.  Through Flink: tests/cluster/test_parity.py.

make soak WHAT="tests/parity tests/cluster/test_parity.py" ARGS="--records 1000000"
"""

import random
from pathlib import Path

import pytest

from heliograph import decide, project
from heliograph.decide.bounds import MAX_BLOB
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record, decode_record
from tests.parity.runtimes import InRocksDB, logged_hops, remembered
from tests.recorded import BEGIN, SHOP

EVENTS = 1_500


CHANCE = random.randrange(10**6)


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    given = pytestconfig.getoption("--seed")
    seed = CHANCE if given is None else int(given)
    print(f"seed {seed}")  # noqa: T201
    return seed


def test_memory_and_rocksdb_decide_alike(
    seed: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> None:
    events = pytestconfig.getoption("--records") or EVENTS
    recording, memory = remembered(tmp_path_factory.getbasetemp(), events, seed)
    logged = logged_hops(recording)
    assert memory.answers == recording.records
    assert memory.hops == logged
    rocksdb, reading = InRocksDB(tmp_path / "rocksdb"), memory.reader()
    for answer in rocksdb.answers(recording):
        reading.compare(answer)
    reading.end()
    assert {decode_record(data).id: data for data in rocksdb.hops} == logged
    states = memory.states
    keys = sorted(states)
    assert sorted(rocksdb.store.keys(limit=10**9)) == keys
    for key, blob in zip(keys, rocksdb.store.states(keys), strict=True):
        assert blob == states[key], f"the state of {key} at the end"
    due = {key: at for at, key in rocksdb.store.due(10**15, 10**9)}
    assert due == {key: one.deadline for key, one in memory.last.items() if one.deadline is not None}
    rocksdb.store.close()


def test_the_number_of_a_decision_weighs_nothing() -> None:
    """Embedded states have none; a person at the bound is decided alike all the same."""
    plan = decide.compile_plan(project.plan_document(SHOP)[0], 1)
    event = Event("e", "track", "Product Viewed", BEGIN, user_id="p")
    ends = []
    for number in (0, BEGIN * 1000):
        state = decide.new_state("u:p")
        state.size, state.number = MAX_BLOB + 1, number
        state, effects = decide.step(state, Record("u:p", "e", BEGIN, 1, EventBody(event)), plan)
        ends.append((state.size, effects))
    assert ends[0] == ends[1]
    assert ends[0][0] < MAX_BLOB
