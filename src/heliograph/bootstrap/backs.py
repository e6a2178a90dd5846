"""What lives backstage: the store, the engine over it, the API and links."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from heliograph import console, render
from heliograph.adapters.dns import Resolver
from heliograph.adapters.http import Door
from heliograph.adapters.http.reply import App, Receive, Scope, Send, problem, write
from heliograph.adapters.schema import JsonSchema
from heliograph.adapters.webhook import AiohttpCaller
from heliograph.bootstrap import LINK_KEYS, send_test
from heliograph.bootstrap.breaker import breaker_rules
from heliograph.bootstrap.mail import mail_settings
from heliograph.bootstrap.traffic import shaping
from heliograph.bootstrap.world import World
from heliograph.config import Settings
from heliograph.decide.times import ms
from heliograph.deliver.webhooks import read_secret
from heliograph.ports import Clock, Commit, SharedStore, Trouble
from heliograph.render.links import LinkKeys
from heliograph.runtime.meter import Meter
from heliograph.runtime.scaled import NO_STORE, ScaledEngine

DRAIN_S: Final = 10.0
SETUP_MS: Final = 10_000
Document = dict[str, Any] | Callable[[], dict[str, Any]]


class Backs:
    """Opened as soon as the store answers.  ``delivers``: with mail; ``collects``: the process takes events;
    ``socket``: where mailers call; ``base_url``: of links in mails, where it is not that of the settings; ``failed`` is
    told when only a new process helps."""

    def __init__(
        self, settings: Settings, world: World, meter: Meter, *, delivers: bool, collects: bool, data: Path,
        document: Document, socket: Path, clock: Clock | None, failed: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        self.engine: ScaledEngine | None = None
        self.store: SharedStore | None = None
        self.why = "starting"
        """Why there is no engine yet, "" when there is one."""
        self.base_url = settings.project.base_url
        self._settings, self._world, self._meter = settings, world, meter
        self._delivers, self._collects = delivers, collects
        self._data, self._document = data, document
        self._socket, self._clock, self._failed = socket, clock, failed
        self._stack = contextlib.AsyncExitStack()
        self._pages: App | None = None

    # -- life, all of it backstage --

    async def open(self) -> None:
        """One try.  :class:`StoreAway`: nothing was opened."""
        world = self._world
        async with contextlib.AsyncExitStack() as stack:
            store = await asyncio.to_thread(world.store)
            stack.callback(store.close)
            keys = await asyncio.to_thread(shared_link_keys, store, world.owner)
            stream = world.stream()
            stack.push_async_callback(stream.close)
            if (cache := world.cache()) is not None:
                stack.callback(cache.close)
            share = world.share() if self._delivers else None
            if share is not None:
                stack.push_async_callback(share.close)
            engine = await self._engine(stack, keys, store, stream=stream, cache=cache, share=share)
            stack.push_async_callback(engine.stop, DRAIN_S)
            document = self._document() if callable(self._document) else self._document
            await engine.start(document, socket=self._socket if self._delivers else None)
            engine.failed.add_done_callback(lambda failed: self._failed(failed.result()))
            self.engine, self.store, self._pages, self.why = engine, store, self._door(engine, keys), ""
            self._stack = stack.pop_all()

    async def _engine(
        self, stack: contextlib.AsyncExitStack, keys: dict[int, bytes], store: SharedStore, **shared: Any
    ) -> ScaledEngine:
        settings, traffic = self._settings, shaping(self._settings)
        mx = Resolver(settings.direct.nameservers) if traffic.rollup and self._delivers else None
        if mx is not None:
            stack.push_async_callback(mx.close)
        mail = msgspec.structs.replace(mail_settings(settings, keys, self._data), base_url=self.base_url)
        return ScaledEngine(
            store, owner=self._world.owner, partitions=settings.kafka.partitions, delivers=self._delivers,
            collects=self._collects, lease_ms=ms(settings.postgres.lease), compile_schema=JsonSchema,
            load_template=render.load,
            profile_wait_s=ms(settings.postgres.profile_timeout) / 1000,
            profile_oldest_s=ms(settings.postgres.profile_oldest) / 1000,
            clock=self._clock, meter=self._meter, caller=AiohttpCaller(), breaker=breaker_rules(settings.breaker),
            mail_settings=mail, webhook_keys=list(map(read_secret, settings.webhooks.secrets)), shaping=traffic, mx=mx,
            **shared,
        )  # fmt: skip

    def _door(self, engine: ScaledEngine, keys: dict[int, bytes]) -> App:
        """Links and the API; events go another way."""
        settings = self._settings
        access = console.Access(settings.api.token, secure=settings.project.base_url.startswith("https:"))
        pages: Any = console.build(
            engine, access, registry=self._meter.registry, send_test=send_test(settings, engine)
        )  # fmt: skip
        brand, links = settings.project.name, LinkKeys(keys)
        return Door(engine, link_keys=links, brand=brand, write_keys=(), events_per_second=1, fallback=pages)

    async def close(self) -> None:
        """Stop the engine, then let go of everything."""
        await self._stack.aclose()

    # -- from the front --

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: the API and links, once there is an engine."""
        if self._pages is not None:
            await self._pages(scope, receive, send)
        elif scope["type"] == "http":
            await write(send, problem(503, f"not yet: {self.why}", headers=((b"retry-after", b"2"),)))

    def troubles(self) -> list[Trouble]:
        if self.why:
            return [Trouble("start", self.why, NO_STORE)]
        return [] if self.engine is None else self.engine.troubles()


def shared_link_keys(store: SharedStore, owner: str) -> dict[int, bytes]:
    """The secrets behind the links in mails; of many processes that start at once, one makes them."""
    while (stored := store.meta(LINK_KEYS)) is None:
        if store.lead(owner, "setup", SETUP_MS) and store.meta(LINK_KEYS) is None:
            store.commit(Commit(meta={LINK_KEYS: msgspec.msgpack.encode({1: secrets.token_bytes(32)})}))
    return msgspec.msgpack.decode(stored, type=dict[int, bytes])
