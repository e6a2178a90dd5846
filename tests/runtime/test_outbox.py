"""The outbox holds the next messages at hand and never loses one that did not fit."""

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.ports import Commit, MessageRow
from heliograph.runtime.outbox import Outbox


def row(number: int, **fields: object) -> MessageRow:
    return MessageRow(
        message_id=f"m{number:03d}", key="u:ann", journey="j", journey_version="v", run_id="r", step_id="s",
        template="t", template_version="1", topic=None, transactional=False, address="ann@example.com",
        status=str(fields.pop("status", "queued")), reason="", created_at=number, **fields,
    )  # fmt: skip


def stored(*rows: MessageRow) -> MemoryStore:
    store = MemoryStore()
    store.commit(Commit(messages={one.message_id: one for one in rows}))
    return store


def drained(outbox: Outbox, now: int = 10**6) -> list[str]:
    found = []
    while (one := outbox.claim(now)) is not None:
        found.append(one.message_id)
    return found


def test_a_restart_offers_what_the_store_has_queued() -> None:
    outbox = Outbox(stored(row(1), row(2), row(3, status="sent")))
    assert drained(outbox) == ["m001", "m002"]
    assert outbox.claimed == 2


def test_what_did_not_fit_is_fetched_when_there_is_room() -> None:
    rows = [row(n) for n in range(50)]
    outbox = Outbox(stored(*rows), bound=10)
    for one in rows:
        outbox.add(one)
    found = []
    while (one := outbox.claim(10**6)) is not None:
        found.append(one.message_id)
    assert sorted(found) == [one.message_id for one in rows]
    assert len(set(found)) == 50


def test_nothing_goes_before_its_time() -> None:
    outbox = Outbox(MemoryStore())
    outbox.add(row(1, next_at=500))
    outbox.add(row(2, not_before=300))
    assert outbox.claim(299) is None
    assert outbox.next_at() == 300
    assert drained(outbox, 400) == ["m002"]
    assert drained(outbox, 500) == ["m001"]


def test_a_claimed_message_is_not_offered_twice() -> None:
    outbox = Outbox(stored(row(1)))
    assert drained(outbox) == ["m001"]
    outbox.overflowed = True
    assert drained(outbox) == []
    outbox.add(row(1))
    assert drained(outbox) == ["m001"]


def test_what_is_put_off_does_not_hide_what_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind any number of deferred messages: as long as the outbox is behind, whoever offers goes on at once."""
    monkeypatch.setattr("heliograph.runtime.outbox.PORTION", 2)
    outbox = Outbox(stored(*(row(n, status="deferred") for n in range(9)), row(10), row(11, status="deferred")))
    found = []
    while outbox.behind:
        found += drained(outbox)
    assert found == ["m010"]
