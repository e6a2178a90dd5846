"""Recorded histories decide the same for ever.

When this fails, the code decides otherwise than it did: for the first record that differs the message shows what was
decided when it was recorded (``then``) and what is decided today (``now``).  Everything after it may be a consequence.

* It was not meant: the change that you made reaches further than you thought.  Mend it.
* It was meant: say in CHANGELOG.md what people will see, run ``python -m tests.replays.record``, and commit the new
  histories with the change.  Runs that are under way in people's stores will see the difference as well.
"""

from pathlib import Path

import pytest

from heliograph.events.record import BODY_TYPES, Adopt, Expire, Unlink, decode_record
from tests.replays.histories import FOLDER, History, load, replay, told

FILES = sorted(FOLDER.glob("*.bin"))


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def history(request: pytest.FixtureRequest) -> History:
    file: Path = request.param
    return load(file)


def test_the_examples_have_histories() -> None:
    assert {file.stem for file in FILES} == {"broadcasts", "exact", "features", "shop"}
    assert sum(file.stat().st_size for file in FILES) < 700_000


def test_a_recorded_history_decides_the_same_for_ever(history: History) -> None:
    decided, states = replay(history)
    for number, (then, now) in enumerate(zip(history.decided, decided, strict=True), 1):
        record = decode_record(history.log[number - 1])
        assert now == then, f"{told(record, number)}: see the top of this file"
    for key, then_state in history.states.items():
        assert states[key] == then_state, f"the state of {key} at the end: see the top of this file"
    assert states.keys() == history.states.keys()


def test_together_they_hold_nearly_every_kind_of_record_and_effect() -> None:
    histories = [load(file) for file in FILES]
    assert all(len(one.plans) > 1 for one in histories)
    kinds = {type(decode_record(data).body) for one in histories for data in one.log}
    elsewhere = {Expire, Unlink, Adopt}  # tests/replays/test_log.py, tests/decide/test_adopt.py
    assert set(BODY_TYPES.values()) - kinds <= elsewhere
    effects = {essence[0] for one in histories for decided in one.decided for essence in decided}
    assert {"message", "cancel", "webhook", "hop", "member", "ledger", "email", "fact", "duplicate"} <= effects
