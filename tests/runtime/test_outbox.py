"""The outbox holds the next messages at hand, in lanes, and never loses one that did not fit."""

import random

import pytest
from msgspec.structs import replace

from heliograph.adapters.memory import MemoryStore
from heliograph.deliver.limits import Receiver, RelayLimits, SenderLimits, Shaping
from heliograph.ports import Commit, MessageRow
from heliograph.runtime.dispatcher import rank_of
from heliograph.runtime.mailwire import Done
from heliograph.runtime.outbox import REST_MS, Outbox
from heliograph.runtime.traffic import Traffic

LONG = 10**6
SENT = Done("", "sent", "250 Ok", 0, code=250, stage="dot")


def row(number: int, **fields: object) -> MessageRow:
    values = {"journey": "j", "transactional": False, "address": "ann@example.com", "status": "queued", **fields}
    return MessageRow(
        message_id=f"m{number:05d}", key="u:ann", journey_version="v", run_id="r", step_id="s", template="t",
        template_version="1", topic=None, reason="", created_at=number, **values,  # type: ignore[arg-type]
    )  # fmt: skip


def stored(*rows: MessageRow) -> MemoryStore:
    store = MemoryStore()
    store.commit(Commit(messages={one.message_id: one for one in rows}))
    return store


def make(store: MemoryStore | None = None, shaping: Shaping | None = None, **options: object) -> Outbox:
    traffic = Traffic(shaping, rank=rank_of, sender=lambda _row: "default")
    return Outbox(store or MemoryStore(), traffic, **options)  # type: ignore[arg-type]


def taken(outbox: Outbox, now: int = LONG, *, answer: bool = True) -> list[str]:
    """Everything that can go now; ``answer``: each is taken by its receiver at once."""
    found = []
    while True:
        if outbox.behind(now):
            outbox.fetch(now)
        claim = outbox.claim(now)
        if claim is not None:
            found.append(claim.row.message_id)
            if answer:
                finish(outbox, claim.row.message_id, now)
        elif not outbox.behind(now):
            return found


def finish(outbox: Outbox, message_id: str, now: int = LONG, done: Done = SENT) -> None:
    claim = outbox.done(message_id)
    assert claim is not None
    if outbox._store.message(message_id) is not None:
        outbox._store.commit(Commit(messages={message_id: replace(claim.row, status="sent")}))
    outbox._traffic.ended(claim.lane, claim.route, claim.days, done, claim.asked_at, now)


def test_a_restart_offers_what_the_store_has_queued() -> None:
    outbox = make(stored(row(1), row(2), row(3, status="sent")))
    assert taken(outbox, answer=False) == ["m00001", "m00002"]
    assert outbox.claimed == 2


def test_what_did_not_fit_is_fetched_when_there_is_room() -> None:
    rows = [row(n) for n in range(50)]
    outbox = make(stored(*rows), bound=10)
    for one in rows:
        outbox.add(one)
    assert len(outbox) <= 10
    assert taken(outbox) == [one.message_id for one in rows]


def test_nothing_goes_before_its_time() -> None:
    outbox = make()
    assert taken(outbox, 0) == []
    outbox.add(row(1, next_at=500))
    outbox.add(row(2, not_before=300))
    assert outbox.claim(299) is None
    assert outbox.next_at() == 300
    assert taken(outbox, 400) == ["m00002"]
    assert taken(outbox, 500) == ["m00001"]


def test_a_claimed_message_is_not_offered_twice() -> None:
    outbox = make(stored(row(1)))
    assert taken(outbox, answer=False) == ["m00001"]
    outbox.resync()
    assert taken(outbox) == []
    finish(outbox, "m00001", done=Done("", "retry", "450 later", 0, code=450, stage="rcpt"))
    outbox.add(row(1))
    assert taken(outbox) == ["m00001"]


def test_what_is_put_off_does_not_hide_what_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind any number of deferred messages, and of queued ones whose time has not come."""
    monkeypatch.setattr("heliograph.runtime.outbox.PORTION", 2)
    waiting = [row(n, status="deferred") for n in range(9)] + [row(n, next_at=2 * LONG) for n in range(20, 60)]
    outbox = make(stored(*waiting, row(10), row(99)), bound=10)
    assert taken(outbox) == ["m00010", "m00099"]
    assert len(outbox) <= 5, "most of the places are kept for what may go now"


def test_what_is_put_off_and_has_no_place_comes_back_after_its_time() -> None:
    outbox = make(stored(*(row(n, next_at=LONG + n) for n in range(30))), bound=10)
    found: list[str] = []
    for now in range(LONG - 100, LONG + 60_000, 1000):
        found += taken(outbox, now)
    assert sorted(found) == [f"m{n:05d}" for n in range(30)]


def test_triggered_mail_overtakes_broadcasts_and_finds_room_beside_them() -> None:
    outbox = make(bound=10, broadcast_bound=10)
    for n in range(30):
        outbox.add(row(n, journey="broadcast:b1"))
    for n in range(100, 105):
        outbox.add(row(n))
    outbox.add(row(200, transactional=True))
    outbox.add(row(300, transactional=True, journey="broadcast:notice"))
    assert len(outbox) <= 20
    first = [outbox.claim(LONG).row.message_id for _ in range(8)]  # type: ignore[union-attr]
    assert first[:7] == ["m00300", "m00200", *(f"m{n:05d}" for n in range(100, 105))]
    assert first[7] < "m00030"


def test_after_a_restart_triggered_mail_is_found_behind_any_broadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is full of the broadcast long before the store was read, and that ends nothing."""
    monkeypatch.setattr("heliograph.runtime.outbox.PORTION", 20)
    rows = [row(n, journey="broadcast:b1") for n in range(500)]
    outbox = make(stored(*rows, row(900), row(901)), bound=50, broadcast_bound=30)
    passes = 0
    while outbox._pass is not None or not passes:
        outbox.fetch(LONG)
        passes += 1
    assert len(outbox) <= 32 and passes <= 27
    assert [outbox.claim(LONG).row.message_id for _ in range(2)] == ["m00900", "m00901"]  # type: ignore[union-attr]
    assert sorted(taken(outbox)) == [one.message_id for one in rows], "and the broadcast loses nobody"


def test_receivers_take_turns_and_a_lane_keeps_its_order() -> None:
    outbox = make()
    for n in range(6):
        outbox.add(row(n, address=f"x@{'ab'[n % 2]}.example", next_at=5 - n))
    order = taken(outbox)
    assert order == ["m00005", "m00004", "m00003", "m00002", "m00001", "m00000"]


def test_a_receiver_that_does_not_answer_holds_only_its_own() -> None:
    outbox = make()
    for n in range(100):
        outbox.add(row(n, address="x@stalled.example"))
    stuck = taken(outbox, answer=False)
    assert len(stuck) == 10, "the first window"
    for n in range(100, 200):
        outbox.add(row(n, address="x@well.example"))
    assert taken(outbox) == [f"m{n:05d}" for n in range(100, 200)]
    assert "stalled.example: 10 messages on their way" in outbox.waiting_for("m00099")
    finish(outbox, stuck[0])
    assert len(taken(outbox, answer=False)) == 2, "an answer makes room for one, and for one more"


def test_a_suspended_receiver_cannot_fill_memory_and_gets_nothing() -> None:
    rows = [row(n, address="x@gmail.com") for n in range(300)]
    outbox = make(stored(*rows), bound=60)
    lane = outbox._traffic.lane(rows[0])
    lane.receiver.suspend(LONG + 5000, "421 4.7.28 too much")
    for one in rows:
        outbox.add(one)
    assert len(outbox) <= 40
    others = [row(n, address="x@other.example") for n in range(300, 400)]
    for one in others:
        outbox.add(one)
    outbox._store.commit(Commit(messages={one.message_id: one for one in others}))
    assert sorted(taken(outbox)) == [one.message_id for one in others]
    assert "421 4.7.28 too much" in outbox.waiting_for("m00000")
    assert outbox.next_at() == LONG + 5000
    assert taken(outbox, LONG + 5000) == [one.message_id for one in rows]


def test_a_sender_that_has_to_wait_leaves_a_place_to_others_whatever_the_number_of_its_receivers() -> None:
    """Its lanes are as many as its receivers: each is small, and together they are a backlog."""
    limits = {"slow": SenderLimits(max_message_rate="1/d")}
    traffic = Traffic(Shaping(senders=limits), rank=rank_of, sender=lambda one: one.template)
    backlog = [replace(row(n, address=f"x@{n}.example"), template="slow") for n in range(300)]
    news = [replace(row(n, address="x@0.example"), template="other") for n in range(300, 320)]
    outbox = Outbox(stored(*backlog, *news), traffic, bound=100)
    for one in [*backlog, *news]:
        outbox.add(one)
    assert taken(outbox) == ["m00000", *(one.message_id for one in news)]


def test_what_somebody_waits_for_finds_a_place_beside_any_backlog_of_triggered_mail() -> None:
    """A relay that is slow lets the backlog wait, not the password that was asked for."""
    shaping = Shaping(relays={"default": RelayLimits(max_message_rate="1/s")})
    backlog = [row(n, address=f"x@{n}.example") for n in range(300)]
    asked_for = row(300, address="x@new.example", transactional=True)
    outbox = make(stored(*backlog, asked_for), shaping, bound=100)
    for one in [*backlog, asked_for]:
        outbox.add(one)
    assert taken(outbox) == ["m00300"]


def test_what_is_put_off_for_long_does_not_delay_what_is_put_off_for_a_moment() -> None:
    """Also where nothing else leaves: its time alone brings it back from the store."""
    long = [row(n, next_at=2 * LONG, address=f"x@{n}.example") for n in range(200)]
    waits = [row(n, address="x@slow.example") for n in range(200, 260)]
    soon = row(300, next_at=LONG + 1, address="x@soon.example")
    shaping = Shaping(receivers={"slow": Receiver(domains=("slow.example",), max_message_rate="1/d")})
    outbox = make(stored(*long, *waits, soon), shaping, bound=100)
    assert taken(outbox, LONG) == ["m00200"]
    assert taken(outbox, LONG + REST_MS) == []
    assert taken(outbox, LONG + REST_MS + 1) == ["m00300"]


def test_what_becomes_too_late_in_its_lane_comes_out_at_that_moment() -> None:
    outbox = make()
    outbox._traffic.lane(row(1)).receiver.suspend(LONG, "slow down")
    for n in range(1, 50):
        outbox.add(row(n, not_after=1000 + n))
    outbox.add(row(60))
    assert taken(outbox, 500) == [] and outbox.next_at() == 1001
    late = []
    while (one := outbox.overdue(1030)) is not None:
        late.append(one.message_id)
    assert late == [f"m{n:05d}" for n in range(1, 31)]
    assert taken(outbox, LONG) == [*(f"m{n:05d}" for n in range(31, 50)), "m00060"]


def test_late_and_back_again_counts_once_and_not_before_its_new_time() -> None:
    outbox = make()
    outbox._traffic.lane(row(1)).receiver.suspend(LONG, "slow down")
    assert taken(outbox, 100) == []
    outbox.add(row(1, not_after=200))
    assert outbox.overdue(200) is not None
    outbox.add(row(1, next_at=LONG + 70))
    assert taken(outbox, LONG) == []
    assert taken(outbox, LONG + 70) == ["m00001"]


def test_mail_of_held_journeys_takes_no_place_and_comes_back() -> None:
    held = {"j"}
    rows = [row(n) for n in range(20)]
    outbox = make(stored(*rows), bound=5, held=held.__contains__)
    for one in rows:
        outbox.add(one)
    assert taken(outbox) == [] and len(outbox) == 0
    held.clear()
    outbox.resync()
    assert taken(outbox) == [one.message_id for one in rows]


def test_held_after_it_came_into_its_lane() -> None:
    held: set[str] = set()
    outbox = make(held=held.__contains__)
    outbox.add(row(1))
    held.add("j")
    assert taken(outbox) == []


@pytest.mark.parametrize("seed", range(20))
def test_random_traffic_everybody_goes_once_and_nothing_is_lost(seed: int) -> None:
    """Random receivers, classes, puttings-off, small bounds and answers: each goes once, in the order of its lane."""
    chance = random.Random(seed)
    journeys = ["j", "k", "broadcast:b"]
    rows = [
        row(n, address=f"x@{chance.choice('abcde')}.example", journey=chance.choice(journeys),
            next_at=chance.choice([0, 0, chance.randrange(5000)]))
        for n in range(400)
    ]  # fmt: skip
    shaping = Shaping(receivers={"a": Receiver(domains=("a.example",), max_message_rate="50/s")})
    outbox = make(stored(*rows[:200]), shaping, bound=chance.randrange(8, 60), broadcast_bound=chance.randrange(4, 40))
    coming, under_way, gone = list(rows[200:]), list[str](), list[str]()
    for now in range(0, 60_000, 20):
        for _ in range(chance.randrange(4)):
            if coming:
                one = coming.pop(0)
                outbox._store.commit(Commit(messages={one.message_id: one}))
                outbox.add(one)
        if outbox.behind(now):
            outbox.fetch(now)
        while (claim := outbox.claim(now)) is not None:
            assert claim.row.next_at <= now
            under_way.append(claim.row.message_id)
        chance.shuffle(under_way)
        for message_id in under_way[: chance.randrange(30)]:
            under_way.remove(message_id)
            gone.append(message_id)
            finish(outbox, message_id, now)
    assert sorted(gone) == [one.message_id for one in rows]
    assert len(outbox) == 0 and outbox.claimed == 0
