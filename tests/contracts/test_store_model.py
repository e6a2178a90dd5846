"""Law: after any commits, expiries and restarts, a store on disk answers every question as its twin in memory."""

import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.sql import PostgresStore
from heliograph.decide.broadcasts import journey_of
from heliograph.events.record import EventBody, LedgerRow, Link, Record
from heliograph.ports import Commit, PlanRow, Store
from tests import postgres
from tests.contracts.samples import broadcast, dead_letter, event, fact, message, request, suppression

KEYS = st.sampled_from(["u:1", "u:2", "u:\x00", "u:1\x00", "u:日本", "a:x", "e:y", ""])
NAMES = st.sampled_from(["buyers", "buyers\x00", "", "ü"])
IDS = st.sampled_from(["e1", "e2", "\x00", "é"])
STATUSES = st.sampled_from(["queued", "deferred", "sending", "sent", "skipped"])
TIMES = st.one_of(st.integers(-3, 40), st.sampled_from([-(1 << 62), 1 << 40]))
BEFORE = st.integers(-3, 60)

bodies = st.one_of(
    st.builds(EventBody, st.builds(event, IDS, TIMES, n=st.integers(0, 2)), hops=st.integers(0, 1)),
    st.builds(Link, KEYS),
)
records = st.builds(Record, KEYS, IDS, TIMES, st.just(1), bodies)


class Twins(RuleBasedStateMachine):
    """``disk`` is a store in RocksDB."""

    def make(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="heliograph-twins-"))
        self.twin: MemoryStore = MemoryStore()

    def reopened(self) -> Store:
        return RocksStore(self.path)

    def clear(self) -> None:
        shutil.rmtree(self.path)

    @initialize()
    def open(self) -> None:
        self.make()
        self.disk = self.reopened()
        self.positions = count(1)
        self.pending: dict[str, int] = {}
        self.owners: dict[str, tuple[int, str]] = {}
        self.begun: dict[str, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.close()
            self.clear()

    def commit(self, commit: Commit) -> None:
        self.twin.commit(commit)
        self.disk.commit(commit, sync=False)

    @rule(found=st.lists(records, max_size=6))
    def append(self, found: list[Record]) -> None:
        self.commit(Commit(log=[(next(self.positions), record) for record in found]))

    @rule(
        states=st.dictionaries(KEYS, st.none() | st.binary(max_size=9)),
        members=st.dictionaries(st.tuples(NAMES, KEYS), st.one_of(st.none(), TIMES), max_size=5),
        emails=st.dictionaries(st.tuples(NAMES, KEYS), st.booleans(), max_size=4),
        meta=st.dictionaries(NAMES, st.binary(max_size=3), max_size=2),
    )
    def remember(self, **parts: Any) -> None:
        self.commit(Commit(**parts))

    @rule(moves=st.dictionaries(KEYS, st.one_of(st.none(), TIMES), max_size=4))
    def set_wakeups(self, moves: dict[str, int | None]) -> None:
        self.commit(Commit(wakeups={key: (self.pending.get(key), new) for key, new in moves.items()}))
        self.pending |= {key: new for key, new in moves.items() if new is not None}
        for key in [key for key, new in moves.items() if new is None]:
            self.pending.pop(key, None)

    @rule(changes=st.dictionaries(IDS, st.tuples(TIMES, KEYS, STATUSES), max_size=4))
    def change_messages(self, changes: dict[str, tuple[int, str, str]]) -> None:
        rows = {}
        for id, (at, key, status) in changes.items():
            at, key = self.owners.setdefault(id, (at, key))
            journey = journey_of("b") if len(id) % 2 else "cart"
            rows[id] = replace(message(id, at, key, status), journey=journey)
        self.commit(Commit(messages=rows))

    @rule(facts=st.lists(st.tuples(KEYS, st.builds(fact, TIMES, n=st.integers(0, 9))), max_size=4))
    def journal(self, facts: list[Any]) -> None:
        self.commit(Commit(journal=facts))

    @rule(
        rows=st.lists(st.builds(suppression, NAMES, st.sampled_from(["!manual", "!bounce", "offers"]), st.booleans()))
    )
    def change_ledger(self, rows: list[LedgerRow]) -> None:
        self.commit(Commit(ledger={(row.address, row.topic): row for row in rows}))

    @rule(id=IDS, at=TIMES, version=st.integers(1, 4))
    def refuse_and_publish(self, id: str, at: int, version: int) -> None:
        self.commit(Commit(dead_letters={id: dead_letter(id, at)}, plan=PlanRow(version, b"{}", at)))

    @rule(changes=st.dictionaries(IDS, st.booleans(), max_size=3), at=TIMES)
    def ask_for_and_answer(self, changes: dict[str, bool], at: int) -> None:
        self.commit(Commit(requests={id: request(id, give_up_at=at) if on else None for id, on in changes.items()}))

    @rule(changes=st.dictionaries(IDS, st.none() | st.integers(0, 9), max_size=3), at=TIMES)
    def broadcast(self, changes: dict[str, int | None], at: int) -> None:
        rows = {}
        for id, offered in changes.items():
            created_at = self.begun.setdefault(id, at)
            rows[id] = None if offered is None else broadcast(id, created_at, offered=offered, people={"entered": 1})
        self.commit(Commit(broadcasts=rows))

    @rule(log_before=BEFORE, history_before=BEFORE, dead_letters_before=BEFORE)
    def expire(self, **before: int) -> None:
        assert self.twin.expire(**before) == self.disk.expire(**before)

    @rule()
    def reopen(self) -> None:
        self.disk.close()
        self.disk = self.reopened()

    @precondition(lambda self: hasattr(self, "disk"))
    @rule(key=KEYS, name=NAMES, status=STATUSES, at=TIMES, other=TIMES, limit=st.integers(1, 3))
    def ask(self, **question: Any) -> None:
        twin, disk = _answers(self.twin, **question), _answers(self.disk, **question)
        differs = {name: (twin[name], value) for name, value in disk.items() if twin[name] != value}
        assert not differs, differs


def _answers(store: Store, key: str, name: str, status: str, at: int, other: int, limit: int) -> dict[str, Any]:
    return {
        "states": store.states([key, "u:1"]),
        "keys": (store.keys(limit=limit), store.keys(after=key)),
        "log": (store.log(), store.log(3, limit), store.last_received_at(), _position(store)),
        "parts": [
            store.history_part(key, names, limit=limit) for names in (None, frozenset({"Product Viewed"}), frozenset())
        ],
        "words": (store.words(), store.words((name, "offers"), limit), store.metas(), store.emails(name)),
        "history": (list(store.history(key)), list(store.history(key, at, other)), store.recent_history(key, limit)),
        "due": (store.due(at), store.due(1 << 50, limit), store.next_due()),
        "messages": [
            _pages(lambda cursor, wanted=wanted: store.messages(limit=limit, cursor=cursor, **wanted))
            for wanted in (
                asked | more for asked in ({}, {"key": key}, {"broadcast": "b"}) for more in ({}, {"status": status})
            )
        ],
        "unfinished": sorted(row.message_id for row in store.unfinished_messages()),
        "ledger": (
            store.ledger(name),
            _pages(lambda cursor: store.suppressions(limit, cursor)),
            store.suppressions(prefix=name),
        ),
        "emails": store.keys_of_email(name),
        "members": (store.member_count(name), _pages(lambda cursor: store.members(name, limit, cursor))),
        "members_behind": store.members(name, limit, after=key)[0],
        "broadcasts": (_pages(lambda cursor: store.broadcasts(limit, cursor)), store.broadcast("e1")),
        "journal": (store.journal(key), store.journal(key, limit, at)),
        "dead_letters": (_pages(lambda cursor: store.dead_letters(limit, cursor)), store.dead_letter("e1")),
        "requests": (list(store.requests()), list(store.requests("e1")), store.request("e2")),
        "plans": (store.plan(), store.plan(2), store.plans(), store.meta(name)),
    }


def _position(store: Store) -> int:
    """Where the log is elsewhere, every process has its own."""
    return 0 if isinstance(store, SharedMemoryStore | PostgresStore) else store.last_position()


def _pages(page: Any) -> list[Any]:
    """Everything, page by page; the cursors themselves must be equal too."""
    rows, cursor = page(None)
    found = [rows, cursor]
    while cursor is not None:
        rows, cursor = page(cursor)
        found += [rows, cursor]
    return found


class SharedTwins(Twins):
    """``disk`` is in PostgreSQL."""

    def make(self) -> None:
        self.url = postgres.emptied()
        self.twin = SharedMemoryStore()

    def reopened(self) -> Store:
        return PostgresStore(self.url)

    def clear(self) -> None:
        """The next one does."""


TestTwins = Twins.TestCase
TestTwins.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not() or "none")
class TestSharedTwins(SharedTwins.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
