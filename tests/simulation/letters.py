"""Broadcasts in the simulator: what may happen to them, and what must hold of them.

Their books are kept from commits alone: what facts and rows say, never what the broadcast's own row says of itself.
"""

import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Protocol

from heliograph import decide
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.times import iso
from heliograph.events.record import Offer
from heliograph.ports import BroadcastRefused, BroadcastRow, Commit, MessageRow, Store

if TYPE_CHECKING:
    from tests.simulation.world import World

TEMPLATES = {"letter": "marketing", "alarm": "transactional"}
DAY = 86_400_000
MOVES = ("pause", "resume", "resume", "resume", "cancel", "start")


class Letters:
    """Books: per broadcast who was offered it, facts by what they count, rows by status, addresses with their mail."""

    def __init__(self) -> None:
        self.offered: dict[str, set[str]] = defaultdict(set)
        self.facts: dict[str, Counter[str]] = defaultdict(Counter)
        self.addresses: dict[tuple[str, str], str] = {}
        self.runs: Counter[str] = Counter()
        self.twice: list[tuple[str, str, str]] = []

    def committed(self, commit: Commit) -> None:
        for _, record in commit.log:
            if isinstance(record.body, Offer):
                self.offered[record.body.broadcast].add(record.key)
        for _, fact in commit.journal:
            name = broadcast_of(fact.data.get("journey", ""))
            if name and fact.kind in ("run_started", "run_ended", "run_refused"):
                self.facts[name][fact.kind] += 1
                self.runs[fact.data.get("run_id", "")] += {"run_started": 1, "run_ended": -1}.get(fact.kind, 0)
        for row in commit.messages.values():
            if (name := broadcast_of(row.journey)) and row.address:
                known = self.addresses.setdefault((name, row.address), row.message_id)
                if known != row.message_id:
                    self.twice.append((name, row.address, row.message_id))


# -- what may happen --


def begin(world: "World") -> None:
    """Somebody sends a letter, now or later, to some or to all."""
    try:
        row = world.crank.create_broadcast(written(world.chance, world), draft=world.chance.random() < 0.1)
        world.happened[f"broadcast {row.status}"] += 1
    except BroadcastRefused as refused:
        world.happened[f"refused {refused.problems[0][0]}"] += 1


class Place(Protocol):
    """Where letters are written: with a clock, and a store that knows the earlier ones."""

    store: Any
    clock: Any


def written(chance: random.Random, world: Place) -> dict[str, Any]:
    document: dict[str, Any] = {"name": "a letter", "template": "letter", "topic": chance.choice(("offers", "news"))}
    if chance.random() < 0.2:
        document = {"name": "an alarm", "template": "alarm", "notice": True}
    elif chance.random() < 0.3:
        document["holdout"] = "20%"
    earlier = world.store.broadcasts(5)[0]
    document["audience"] = chance.choice([
        {"everyone": True}, {"segment": "buyers"}, {"list": "friends"},
        {"if": {"did": {"event": "Product Viewed", "at_least": chance.randrange(1, 9)}}},
        {"broadcast": chance.choice(earlier).broadcast_id} if earlier else {"everyone": True},
    ])  # fmt: skip
    match chance.randrange(4):
        case 0:
            document["at"] = iso(world.clock.now() + chance.randrange(2 * DAY))
        case 1 if "rate" not in document:
            document["at"], document["local_time"] = iso(world.clock.now() + DAY)[:16], True
        case 2:
            document["rate"] = "2000/h"
    return document


def move(world: "World") -> None:
    """Somebody presses a button, whether or not it means anything."""
    if rows := world.store.broadcasts(5)[0]:
        verb = world.chance.choice(MOVES)
        try:
            world.crank.move_broadcast(world.chance.choice(rows).broadcast_id, verb)
            world.happened[f"broadcast {verb}"] += 1
        except BroadcastRefused:
            world.happened["moves that mean nothing"] += 1


def walk(world: "World") -> None:
    """What was begun goes on behind live traffic, a few people at a time."""
    world.crank.broadcast(world.chance.choice((1, 5, 20)))


# -- what must hold in the end --


def resume_all(world: "World") -> None:
    for row in all_of(world.store):
        if row.status == "paused":
            world.crank.move_broadcast(row.broadcast_id, "resume")


def all_of(store: Store) -> list[BroadcastRow]:
    return store.broadcasts(10**6)[0]


def check(store: Store, books: Letters, rows: dict[str, MessageRow], states: dict[str, decide.State], law: Any) -> None:
    law(not books.twice, "an address gets a broadcast once", *books.twice[:3])
    by_name = defaultdict(list)
    for message in rows.values():
        if name := broadcast_of(message.journey):
            by_name[name].append(message)
    for row in all_of(store):
        adds_up(row, books, by_name[row.broadcast_id], law)
        if row.status == "finished":
            nobody_is_left_out(row, books, states, law)
        else:
            law(row.status in ("draft", "cancelled") or row.starts_at, "every broadcast has an end", row)


def adds_up(row: BroadcastRow, books: Letters, rows: list[MessageRow], law: Any) -> None:
    name, facts = row.broadcast_id, books.facts[row.broadcast_id]
    law(row.messages == Counter(one.status for one in rows), "progress is true: messages", row.messages, name)
    entered, held_out = row.people.get("entered", 0), row.people.get("held_out", 0)
    refused = held_out + sum(row.refused.values())
    law(entered == facts["run_started"], "progress is true: who entered", row, facts)
    law(row.people.get("active", 0) == facts["run_started"] - facts["run_ended"], "progress is true: active", row)
    law(refused == facts["run_refused"], "progress is true: who was refused", row, facts)
    law(row.offered == entered + refused, "progress is true: who was offered it", row, facts)


def nobody_is_left_out(row: BroadcastRow, books: Letters, states: dict[str, decide.State], law: Any) -> None:
    """Of those who were in its audience when it began, as far as it says so by itself: everybody."""
    if "everyone" not in row.document["audience"]:
        return
    for key, state in states.items():
        if state.forward or not state.plan_version or state.created_at >= row.started_at:
            continue
        offered = books.offered[row.broadcast_id]
        law(not offered.isdisjoint({key, *state.links}), "nobody is left out", row.broadcast_id, key)
