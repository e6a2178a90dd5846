"""An engine in this process, a mailer process of its own, and mail to people until all of it has come to its end."""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from heliograph.adapters.memory import MemoryStore
from heliograph.deliver.lifecycle import UNFINISHED
from heliograph.deliver.routes import Routes
from heliograph.ports import MessageRow
from heliograph.render import compile_template
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.mailer import wall_ms
from heliograph.runtime.mailwire import MailerSender, MailerSettings
from tests.runtime.harness import HOUR, call, identify, running, send, shop

PATIENCE_S = 30.0
SENDER = MailerSender(from_="Shop <shop@bounces.shop.example>", postal_address="1 Quay Street")
PAGE = {"subject": "{{ profile.subject | default: 'Thanks' }}", "sender": "default", "class": "transactional"}
NOTE = "{{ profile.note | default: 'Thanks.' }}"


@contextlib.asynccontextmanager
async def mailing(
    routes: Routes,
    *,
    sender: MailerSender = SENDER,
    transport: str = "",
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[EmbeddedEngine]:
    """Whoever orders is sent ``profile.note`` under ``profile.subject``, once.  ``transport``: ``MODULE:FUNCTION``, for
    another than the mailer's own."""
    document = shop()
    document["templates"]["confirmation"] = compile_template("confirmation", PAGE, f"<p>{NOTE}</p>", "html", NOTE)
    settings = MailerSettings(routes, {"default": sender}, "http://127.0.0.1:8080", {"1": b"k" * 32})
    with tempfile.TemporaryDirectory() as folder:
        socket, clock = Path(folder) / "s", ManualClock(wall_ms())
        async with running(MemoryStore(), clock, document, socket=socket, mail_settings=settings) as engine:
            command = (sys.executable, "-m", "heliograph.runtime.mailer", "--socket", str(socket))
            options = ("--transport", transport) if transport else ()
            mailer = await asyncio.create_subprocess_exec(*command, *options, env={**os.environ, **(environment or {})})
            try:
                yield engine
            finally:
                mailer.kill()
                await mailer.wait()


async def order(engine: EmbeddedEngine, addresses: Iterable[str], **traits: Any) -> None:
    """Each address is a person who orders."""
    people = list(addresses)
    await send(engine, *(identify(address, email=address, **traits) for address in people))
    await send(engine, *(call("Order Completed", address) for address in people))


async def ended(engine: EmbeddedEngine, addresses: Iterable[str], pause_s: float = 0.01) -> dict[str, MessageRow]:
    """Their messages, once each has its end.  The clock moves an hour whenever nothing is past its commit point;
    ``pause_s`` is how long the receiver gets in between."""
    wanted = set(addresses)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            rows = of(engine, wanted)
            if rows.keys() == wanted and not any(row.status in UNFINISHED for row in rows.values()):
                return rows
            if not any(row.status == "sending" for row in rows.values()):
                skip(engine, HOUR)
            await asyncio.sleep(pause_s)


async def tried(engine: EmbeddedEngine, address: str) -> MessageRow:
    """The message once a first attempt has failed, or it has its end."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            row = of(engine, {address}).get(address)
            if row is not None and (row.attempt or row.status not in UNFINISHED):
                return row
            await asyncio.sleep(0.01)


def of(engine: EmbeddedEngine, addresses: set[str]) -> dict[str, MessageRow]:
    """The latest messages to them."""
    return {row.address: row for row in engine.store.messages(limit=200)[0] if row.address in addresses}


def skip(engine: EmbeddedEngine, ms: int) -> None:
    """Let time pass for the engine, and let it look what is due."""
    assert isinstance(engine.clock, ManualClock)
    engine.clock.advance(ms)
    engine.dispatcher.offer(())


def suppressed(engine: EmbeddedEngine, address: str) -> bool:
    return any(word.topic == "!bounce" and not word.given for word in engine.store.ledger(address))
