"""Broadcasts through the real loops: the broadcaster, the processor, the dispatcher's socket, RocksDB on disk."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heliograph.adapters.rocksdb import RocksStore
from heliograph.ports import BroadcastRefused, Store
from heliograph.runtime import mailwire
from heliograph.runtime.clock import SystemClock
from heliograph.runtime.engine import EmbeddedEngine
from tests.runtime.harness import PuppetMailer, call, identify, new_engine, send, until
from tests.runtime.shouting import document, plan

PEOPLE = 300


@contextlib.asynccontextmanager
async def serving(store: Store, folder: Path) -> AsyncIterator[EmbeddedEngine]:
    """On the wall clock: a broadcast may not wait for somebody to move time."""
    engine = new_engine(store, SystemClock())
    await engine.start(plan(), socket=folder / "s")
    try:
        yield engine
    finally:
        await engine.stop(1)


@contextlib.asynccontextmanager
async def mailing(folder: Path, wire: Counter[str], *, most: int = 10**9) -> AsyncIterator[None]:
    """A mailer that sends whatever it may, ``most`` messages at most."""
    mailer = await PuppetMailer.connect(folder / "s", credit=64)

    async def work() -> None:
        while sum(wire.values()) < most:
            match await mailer.hear(mailwire.Offer | mailwire.Verdicts):
                case mailwire.Offer(jobs):
                    mailer._say(mailwire.AskCommit(mailer.epoch, [job.message_id for job in jobs]))
                case mailwire.Verdicts(go, stop):
                    wire.update(go)
                    for message_id in go:
                        mailer.report(message_id, "sent", "250", at=10**13)
                    for message_id, reason in stop:
                        mailer.report(message_id, "stopped", reason)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, TimeoutError, asyncio.IncompleteReadError):
            await task
        await mailer.close()


async def test_it_reaches_everybody_once_across_a_restart_in_the_middle(tmp_path: Path) -> None:
    wire: Counter[str] = Counter()
    store = RocksStore(tmp_path / "data")
    async with serving(store, tmp_path) as engine:
        await send(engine, *(identify(f"p{n}", email=f"p{n}@x.test") for n in range(PEOPLE)))
        row = await engine.create_broadcast(document(id="october"))
        async with mailing(tmp_path, wire, most=100):
            await until(lambda: len(wire) >= 100)
    store.close()
    store = RocksStore(tmp_path / "data")
    async with serving(store, tmp_path) as engine:
        async with mailing(tmp_path, wire):
            await until(lambda: _status(engine) == "finished")
        progress = engine.broadcast_progress(row.broadcast_id)
        assert engine.broadcasts()[0].broadcast_id == "october"
    rows = store.messages(broadcast="october", limit=1000)[0]
    store.close()
    assert progress["people"] | {"total": PEOPLE} == {
        "total": PEOPLE, "offered": PEOPLE, "entered": PEOPLE, "held_out": 0, "waiting": 0, "refused": {},
    }  # fmt: skip
    assert progress["messages"] == Counter(one.status for one in rows)
    assert len({one.address for one in rows}) == len(rows) == PEOPLE
    assert set(wire.values()) == {1} and set(wire) >= {one.message_id for one in rows if one.status == "sent"}


async def test_pause_resume_and_cancel_while_it_runs_and_people_go_on_living(tmp_path: Path) -> None:
    wire: Counter[str] = Counter()
    store = RocksStore(tmp_path / "data")
    async with serving(store, tmp_path) as engine:
        await send(engine, *(identify(f"p{n}", email=f"p{n}@x.test") for n in range(PEOPLE)))
        await engine.create_broadcast(document(id="october", rate="40/s"))
        async with mailing(tmp_path, wire):
            await until(lambda: len(wire) > 20)
            await engine.move_broadcast("october", "pause", "a typing error")
            (results,) = await asyncio.gather(send(engine, call("Signed Up", "p1")))
            assert results[0].status == "accepted"
            await until(lambda: engine.store.messages(key="u:p1", status="sent")[0])
            assert (_status(engine), engine.holds()["broadcast:october"].reason) == ("paused", "a typing error")
            await engine.move_broadcast("october", "resume")
            before = len(wire)
            await until(lambda: len(wire) > before + 20)
            await engine.move_broadcast("october", "cancel")
            await until(lambda: not engine.holds())
        row = engine.broadcast("october")
        with pytest.raises(BroadcastRefused, match="it is cancelled"):
            await engine.move_broadcast("october", "resume")
        with pytest.raises(LookupError):
            engine.broadcast_progress("never")
    assert row is not None and row.status == "cancelled" and 0 < row.offered < PEOPLE
    assert set(row.messages) <= {"sent", "cancelled"}
    store.close()


def _status(engine: EmbeddedEngine) -> str:
    row = engine.broadcast("october")
    return row.status if row is not None else ""
