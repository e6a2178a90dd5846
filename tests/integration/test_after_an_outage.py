"""A brain that comes back after two hours: who ordered meanwhile is not reminded, what is stale is dropped, and a
receipt waits for nothing of that."""

import asyncio
import time
from pathlib import Path

import pytest

from heliograph.adapters.memory.stream import MemoryStream
from heliograph.bootstrap import scaled
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Record
from heliograph.ports import MessageRow
from heliograph.runtime import near_brain
from heliograph.runtime.near_brain import as_post
from tests.integration.test_kill9 import Receiver
from tests.integration.test_scaled import Machines
from tests.runtime.harness import until

PEOPLE = 60
AGO_MS = 2 * 3_600_000
FILES = {
    "journeys/cart.yaml": "entry: {event: Product Added, key: properties.cart_id}\nexit: [{event: Order Completed}]\n"
    "steps:\n  - send: reminder\n",
    "journeys/flash.yaml": "entry: {event: Product Added, key: properties.cart_id}\nsteps:\n  - send: flash\n",
    "journeys/receipt.yaml": "entry: {event: Order Completed}\nsteps:\n  - send: receipt\n",
    "templates/receipt/message.yaml": "subject: Your receipt\nsender: default\nclass: transactional\n",
    "templates/receipt/body.html": "<p>Your receipt</p>\n",
    "templates/reminder/message.yaml": "subject: Your cart\nsender: default\n",
    "templates/reminder/body.html": "<p>Your cart</p>\n",
    "templates/flash/message.yaml": "subject: One hour only\nsender: default\nfreshness: PT1H\n",
    "templates/flash/body.html": "<p>One hour only</p>\n",
}


def known(number: int, at: int) -> Record:
    event = Event(
        event_id=f"known-{number}-{at}", type="identify", name="Identified", user_id=f"p{number}", occurred_at=at,
        traits={"email": f"p{number}@x.test"},
    )  # fmt: skip
    return Record(f"u:p{number}", event.event_id, at, 1, EventBody(event, []))


def happened(number: int, name: str, at: int) -> Record:
    event = Event(
        event_id=f"{name}-{number}", type="track", name=name, user_id=f"p{number}", occurred_at=at,
        properties={"cart_id": f"c{number}"},
    )  # fmt: skip
    return Record(f"u:p{number}", event.event_id, at, 1, EventBody(event, []))


async def slowly(brain: near_brain.NearBrain, over: asyncio.Event) -> None:
    """As one that has two hours before it; ``over``: it has nothing more."""
    while True:
        found = await brain.portion()
        if not found:
            over.set()
        await asyncio.sleep(0.8 if found == 10 else 0.02)


async def test_first_everything_that_happened_is_learnt_then_mail_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_brain, "PORTION", 10)
    receiver = Receiver()
    async with await receiver.listen():
        world = Machines(tmp_path, receiver)
        for name, text in FILES.items():
            (world.project / name).parent.mkdir(parents=True, exist_ok=True)
            (world.project / name).write_text(text)
        async with world.process(scaled.DELIVER) as worker:
            await until(lambda: worker.backs.engine is not None and worker.engine.ready, 60)
            await until(lambda: bool(worker.engine.dispatcher.mailers), 60)
            then, appender = time.time_ns() // 1_000_000 - AGO_MS, MemoryStream(world.broker).appender()
            brain = near_brain.NearBrain(MemoryStream(world.broker), near_brain.plans_of(world.store.plan))
            await appender.append([as_post(known(one, then - AGO_MS)) for one in range(PEOPLE)])
            effects = world.broker.topics["effects"]
            while sum(map(len, effects)) < 3 * PEOPLE:  # each is told to the key of the address, and that one answers
                await brain.portion(0.01)
            carts = [happened(one, "Product Added", then) for one in range(PEOPLE)]
            orders = [happened(one, "Order Completed", then + 60_000) for one in range(0, PEOPLE, 2)]
            await appender.append([as_post(record) for record in [*carts, *orders]])
            over = asyncio.Event()
            deciding = asyncio.create_task(slowly(brain, over))
            await until(lambda: "catching up" in [one.what for one in worker.troubles()], 60)
            await until(lambda: "receipt" in sent(world), 60)
            assert sent(world) == {"receipt"}, "marketing mail waits for what has happened meanwhile"
            assert "catching up" in [one.what for one in worker.troubles()]
            await asyncio.wait_for(over.wait(), 60)
            await appender.append([as_post(known(one, time.time_ns() // 1_000_000)) for one in range(PEOPLE)])
            await until(lambda: len(receiver.got) == PEOPLE, 60)
            await until(lambda: not any(one.status in ("queued", "sending", "deferred") for one in rows(world)), 60)
            await until(lambda: not worker.troubles(), 60)
            deciding.cancel()
            await brain.stop()
        assert receiver.got == {f"p{one}@x.test": 1 for one in range(PEOPLE)}, "a receipt or a reminder"
        by = {(one.template, one.status): one.reason for one in rows(world)}
        assert set(by) == {
            ("reminder", "sent"), ("reminder", "cancelled"), ("flash", "expired"), ("receipt", "sent"),
        }, by  # fmt: skip
        reminded = {row.key for row in rows(world) if (row.template, row.status) == ("reminder", "sent")}
        assert reminded == {f"u:p{one}" for one in range(1, PEOPLE, 2)}
        assert by["flash", "expired"] == "stale"


def sent(world: Machines) -> set[str]:
    """The templates of what was sent."""
    return {row.template for row in rows(world) if row.status == "sent"}


def rows(world: Machines) -> list[MessageRow]:
    return world.store.messages(limit=10 * PEOPLE)[0]
