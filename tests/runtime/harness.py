"""What tests of the engine share: a small shop as a plan document, calls of its customers, an engine, a mailer."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.event import Event
from heliograph.ports import Arrival, MessageRow, Result, Store
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine

T0 = 1_750_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def template(name: str, **fields: Any) -> dict[str, Any]:
    """A compiled template, as far as deciding looks at it."""
    return {
        "name": name,
        "version": "00000001",
        "subject": name,
        "preheader": "",
        "html": f"<p>{name}</p>",
        "text": name,
        "sender": "default",
        "class": "marketing",
        "freshness_ms": None,
        "on_unknown": "hold",
        "last": [],
        "paths": [],
        **fields,
    }


def shop(**parts: Any) -> dict[str, Any]:
    """Cart recovery after 30 minutes, a welcome at once, a confirmation, two segments."""
    document: dict[str, Any] = {
        "format": 1,
        "tzdata": "2026.1",
        "project": {"name": "shop", "timezone": "UTC", "base_url": "http://shop.test", "time_scale": 1},
        "policies": {"topics": {"offers": {"consent": "assumed"}, "news": {"consent": "required"}}},
        "segments": {
            "viewers": {"name": "viewers", "if": {"did": {"event": "Product Viewed", "within": "PT10M"}}},
            "buyers": {"name": "buyers", "if": {"did": {"event": "Order Completed"}}},
        },
        "journeys": {
            "cart": {
                "topic": "offers",
                "entry": {"event": "Product Added", "key": "properties.cart_id", "on_repeat": "restart"},
                "exit": [{"event": "Order Completed"}],
                "steps": [{"wait": "PT30M"}, {"send": "cart-reminder"}],
            },
            "welcome": {"topic": "offers", "entry": {"event": "Signed Up"}, "steps": [{"send": "welcome"}]},
            "confirmation": {"entry": {"event": "Order Completed"}, "steps": [{"send": "confirmation"}]},
        },
        "templates": {
            "cart-reminder": template("cart-reminder"),
            "welcome": template("welcome"),
            "confirmation": template("confirmation", **{"class": "transactional"}),
        },
        "schemas": {},
    }
    return {**document, **parts}


_numbers = itertools.count()


def call(
    name: str,
    user: str | None = "ann",
    /,
    *,
    at: int = 10**15,
    id: str = "",
    anonymous: str | None = None,
    type: str = "track",
    traits: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    **properties: Any,
) -> Arrival:
    """One decoded call; it occurred when it arrives unless ``at`` says otherwise."""
    event_id = id or f"e{next(_numbers)}"
    event = Event(
        event_id, type, name, at, user_id=user, anonymous_id=anonymous, properties=properties, traits=traits or {},
        context=context or {},
    )  # fmt: skip
    return Arrival(event_id, event, b"{}")


def identify(user: str | None = "ann", *, consent: dict[str, bool] | None = None, **traits: Any) -> Arrival:
    context = {"consent": {"categoryPreferences": consent}} if consent else {}
    anonymous = traits.pop("anonymous", None)
    return call("Identified", user, type="identify", anonymous=anonymous, traits=traits, context=context)


def new_engine(store: Store, clock: ManualClock | None = None, **options: Any) -> EmbeddedEngine:
    options = {"compile_schema": JsonSchema, "load_template": lambda _compiled: None, **options}
    return EmbeddedEngine(store, clock=clock or ManualClock(T0), **options)


@contextlib.asynccontextmanager
async def running(
    store: Store | None = None, clock: ManualClock | None = None, document: Any = None, **options: Any
) -> AsyncIterator[EmbeddedEngine]:
    """An engine with the shop published; mailers may call at ``socket``."""
    socket: Path | None = options.pop("socket", None)
    engine = new_engine(store if store is not None else MemoryStore(), clock, **options)
    await engine.start(shop() if document is None else document, socket=socket)
    try:
        yield engine
    finally:
        await engine.stop(1)


async def send(engine: EmbeddedEngine, *arrivals: Arrival) -> list[Result]:
    return await engine.collect(arrivals)


async def advance(engine: EmbeddedEngine, ms: int) -> None:
    """Move the clock and let every timer that came due be decided."""
    assert isinstance(engine.clock, ManualClock)
    now = engine.clock.advance(ms)
    engine.wakeups.stir()
    await until(lambda: (engine.store.next_due() or now + 1) > now)


async def until(fact: Any, patience_s: float = 60.0) -> None:
    async with asyncio.timeout(patience_s):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def messages(engine: EmbeddedEngine, **which: Any) -> list[MessageRow]:
    return engine.store.messages(limit=1000, **which)[0]


class PuppetMailer:
    """A mailer at the other end of the socket that does only what a test tells it to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.epoch = 0

    @classmethod
    async def connect(cls, socket: Path, credit: int = 10) -> "PuppetMailer":
        mailer = cls(*await asyncio.open_unix_connection(str(socket)))
        mailer._say(mailwire.Hello(1, credit))
        try:
            setup = await mailer.hear(mailwire.Setup)
        except BaseException:
            await mailer.close()
            raise
        mailer.epoch = setup.epoch
        return mailer

    def _say(self, message: mailwire.FromMailer) -> None:
        self._writer.write(mailwire.frame(message))

    async def hear(self, kind: type[Any]) -> Any:
        """The next message of this kind; others are passed over."""
        async with asyncio.timeout(60):
            while True:
                size = int.from_bytes(await self._reader.readexactly(4), "big")
                message = mailwire.from_engine.decode(await self._reader.readexactly(size))
                if isinstance(message, kind):
                    return message

    async def job(self) -> mailwire.Job:
        offer: mailwire.Offer = await self.hear(mailwire.Offer)
        (job,) = offer.jobs
        return job

    async def ask(self, *message_ids: str) -> mailwire.Verdicts:
        self._say(mailwire.AskCommit(self.epoch, list(message_ids)))
        verdicts: mailwire.Verdicts = await self.hear(mailwire.Verdicts)
        return verdicts

    def report(self, message_id: str, kind: str, reason: str = "", at: int = T0, *, suppress: bool = False) -> None:
        done = mailwire.Done(message_id, kind, reason, at, suppress=suppress)
        self._say(mailwire.Report(self.epoch, [done]))

    async def close(self) -> None:
        """As a process that dies: without a word."""
        self._writer.transport.abort()
        await asyncio.sleep(0)
