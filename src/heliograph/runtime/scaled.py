"""The engine of several machines: the same doors, over the shared log and the shared store.

::

    collector     edge ------------------------------------> log (never the store)
    API, links    processor -> store (rows, words, outbox) -> relay -> log
    worker        log (what the brain said) -> processor -> store -> dispatcher -> mailers
    leader        of one job each, wherever it is: sweeps, broadcasts, retention, dead letters

Everything that reads the store here may wait for another machine, so this engine lives on an event loop of its own,
beside the one that collects.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from heliograph import decide
from heliograph.decide.state import Ended, Run, State
from heliograph.events.event import Event
from heliograph.events.ids import make_id
from heliograph.ports import (
    Appender,
    BroadcastRow,
    Busy,
    Entered,
    MessageRow,
    PlanRefused,
    ProfileCache,
    PublishReport,
    RateShare,
    Result,
    SharedStore,
    Store,
    StoreAway,
    StoreTooNew,
    Stream,
    StreamGap,
    Trouble,
    steady_ms,
)
from heliograph.runtime import plan_watch
from heliograph.runtime.breaker import Sample, Seen
from heliograph.runtime.caching import CachedDelivery, keep_profiles
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.dead_letters import DeadLetters
from heliograph.runtime.delivery import Delivery
from heliograph.runtime.desk import CompileSchema, Published
from heliograph.runtime.dispatcher import Dispatcher
from heliograph.runtime.engine import EmbeddedEngine
from heliograph.runtime.entering import STATUSES
from heliograph.runtime.far_chunk import FarChunk
from heliograph.runtime.far_counts import summed
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.gaps import dealt_with
from heliograph.runtime.leases import leading
from heliograph.runtime.owned import owned
from heliograph.runtime.places import reach
from heliograph.runtime.plans_elsewhere import Announce, SeePlan
from heliograph.runtime.processor import Processor
from heliograph.runtime.profiles import OLDEST_S, WAIT_S, Profiles
from heliograph.runtime.relay import PublishAgain, Relay, row_in
from heliograph.runtime.retention import keep_expiring
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.together import Together
from heliograph.runtime.work import Stopped

PUBLISH_MS: Final = 30_000
"""One process publishes at a time; compiling the largest project takes some seconds."""
PATIENCE_MS: Final = 10_000
"""And others wait for it as long as a caller may."""
DECIDED_S: Final = 5.0
"""An entry by API is answered with its decision when that comes within this."""
LOOK_S: Final = 0.02
PROBE_S: Final = 2.0
"""How often the store is asked whether it is there."""

log = structlog.get_logger("heliograph.engine")


class ScaledEngine(EmbeddedEngine):
    """``owner``: names this process among all.  ``partitions``: of the topics.  ``delivers``: carry out decisions and
    mail; without, this engine only serves the API and links, and changes what they change.  ``collects``: its process
    takes events, too, and goes on with that when nothing can be carried out any more.  ``profile_wait_s``,
    ``profile_oldest_s``: of :class:`~heliograph.runtime.profiles.Profiles`."""

    store: SharedStore
    _desk: FarDesk

    def __init__(
        self,
        store: SharedStore,
        stream: Stream,
        *,
        owner: str,
        partitions: int,
        delivers: bool,
        lease_ms: int,
        collects: bool = False,
        cache: ProfileCache | None = None,
        share: RateShare | None = None,
        profile_wait_s: float = WAIT_S,
        profile_oldest_s: float = OLDEST_S,
        **options: Any,
    ) -> None:
        self._partitions = partitions
        self._workers: tuple[str, ...] = (owner,)
        self._known_counts: dict[str, int] = {}
        self._sharing = Sharing(share, machine=owner, workers=lambda: self._workers) if delivers else None
        super().__init__(store, sharing=self._sharing, **options)
        self.store = store
        self.owner, self._lease_ms, self._collects = owner, lease_ms, collects
        self._stream, self._cache = stream, cache
        self.profiles = Profiles(
            store, self._desk.blobs, cache, self.meter, wait_s=profile_wait_s, oldest_s=profile_oldest_s
        )
        self._appender: Appender = stream.appender()
        self._relay = Relay(store, self._appender, self.meter, self._processor.put, owner=owner)
        self._effects_lost = 0
        self.meter.watch("effects_lost", lambda: self._effects_lost)
        self._delivery = self._new_delivery() if delivers else None
        self._store_away = ""
        self._publishing = asyncio.Lock()
        self._together = Together(
            store, owner, self._processor.put, self._breaker, self.dispatcher, self.holds, self.clock, self._sharing
        )  # fmt: skip

    def _new_desk(self, store: Store, compile_schema: CompileSchema) -> FarDesk:
        return FarDesk(store, compile_schema, partitions=self._partitions)  # type: ignore[arg-type]  # is a shared one

    def _new_processor(self, *parts: Any, **options: Any) -> Processor:
        return super()._new_processor(*parts, chunk=FarChunk, **options)

    def _new_dispatcher(self, **options: Any) -> Dispatcher:
        """Mail of our own people alone, and only under our lease."""
        desk = self._desk
        return Dispatcher(
            owned(self.store, desk.offers), self.clock, self.meter, current=desk.present, mine=desk.offers,
            until=lambda: desk.leases.until if desk.leases is not None else 0, **options,
        )  # fmt: skip

    def _new_delivery(self) -> Delivery:
        delivery = CachedDelivery(
            self.store, self._stream, self._processor, self._desk, self.dispatcher,
            owner=self.owner, lease_ms=self._lease_ms, meter=self.meter, clock=self.clock,
        )  # fmt: skip
        delivery.cache, delivery.taken = self._cache, self.webhooks.read_again
        return delivery

    # -- life --

    async def start(self, document: dict[str, Any] | None = None, *, socket: Path | None = None) -> None:
        """Publish ``document`` if nobody has published any, begin to accept, take over partitions.
        :class:`StoreAway` when the store went away meanwhile."""
        self._processor.start()
        self._relay.start()
        await self._first_plan(document)
        if socket is not None:
            await self.dispatcher.listen(socket)
        loops = self._loops() if self._delivery is not None else {}
        self._run({"store": self._probe(), "together": patiently(self._together.run), **loops})
        self._accepting = True
        if self._delivery is not None:
            await self._delivery.start(self._loop_ended)

    def _loops(self) -> dict[str, Coroutine[Any, Any, None]]:
        jobs: dict[str, Callable[[], Awaitable[None]]] = {
            "sweeps": self._sweeper.run,
            "broadcasts": self._broadcaster.run,
            "retention": lambda: keep_expiring(self.store, self.clock, self._processor),
            "idle": self.forgetter.run,
            "dead letters": DeadLetters(self.store, self._stream, self._processor.put).run,
        }
        led = {
            name: leading(self.store, self.owner, name, self._lease_ms, lambda job=job: patiently(job))  # type: ignore[misc]
            for name, job in jobs.items()
        }
        return {"dispatcher": patiently(self.dispatcher.run), "webhooks": patiently(self.webhooks.run), **led}

    async def _first_plan(self, document: dict[str, Any] | None) -> None:
        while not self._desk.planned:
            if document is None:
                raise PlanRefused([("", "nothing is published yet, and no project was given")])
            if await self._leads_publishing():
                await self._publish_first(document)
            else:
                await asyncio.sleep(0.2)  # another process is at it
                self._desk.catch_up(1)

    async def stop(self, patience_s: float = 10.0) -> None:
        """Take no more; give the partitions back with nothing under way; publish what commits left."""
        if self._stopped:
            return
        self._accepting = False
        if self._delivery is not None:
            await self._delivery.stop(patience_s)
        await super().stop(patience_s)
        await self._relay.stop()
        await self._appender.close(patience_s)
        self.profiles.close()

    def _fatal(self, error: Exception) -> None:
        """What somebody has to mend first would end the process at each start, and with it collecting."""
        if self._collects and self._delivery is not None and isinstance(error, StreamGap | StoreTooNew):
            self._delivery.halt(f"{error}; then start this process again")
        elif self._delivery is None or not (self._delivery.halted and isinstance(error, Stopped)):
            super()._fatal(error)

    def _settled(self, chunk: Chunk) -> None:
        if self._cache is not None and chunk.commit.states:
            keep_profiles(self._cache, chunk)
        super()._settled(chunk)
        if chunk.commit.relay:
            self._relay.stir()

    def _sampled(self, samples: Sequence[Sample]) -> Seen:
        seen = super()._sampled(samples)
        self._together.saw(seen)
        return seen

    def _counts(self) -> dict[str, int]:
        with contextlib.suppress(StoreAway):
            self._known_counts = super()._counts()
        return self._known_counts

    # -- what is away --

    async def _probe(self) -> None:
        """Is the store there, and who else works on it?"""
        while True:
            try:
                claims = await asyncio.to_thread(self.store.claims)
                self._effects_lost = sum(gap.lost for gap in await asyncio.to_thread(dealt_with, self.store))
                self._workers = tuple(sorted({claim.owner for claim in claims if claim.owner} | {self.owner}))
                self._store_away = ""
            except StoreAway as error:
                self._store_away = str(error) or "no answer"
            await asyncio.sleep(PROBE_S)

    def troubles(self) -> list[Trouble]:
        """What this engine misses.  From any thread."""
        found = []
        if self._store_away:
            found.append(Trouble("postgres", self._store_away, NO_STORE))
        if self._delivery is not None and self._delivery.why and not self._store_away:
            found.append(Trouble("delivery", self._delivery.why, "mail that was decided waits, and is sent afterwards"))
        found += [*self.profiles.troubles(), *self._desk.catching_up.troubles()]
        if self._relay.why and not self._store_away:
            found.append(Trouble("kafka", self._relay.why, "what was changed by hand or by links is decided later"))
        if self._cache is not None and self._cache.away():
            found.append(
                Trouble("redis", "the cache does not answer", "profiles are read from PostgreSQL: slower mail")
            )
        return found

    # -- changes --

    async def reach(self, position: str) -> None:
        await reach(self.store, position)

    async def enter(self, key: str, journey: str, event: Event) -> Entered:
        """Asked in the log; answered with the decision, or as waiting when that takes longer than a caller would."""
        since = self.clock.now()
        await super().enter(key, journey, event)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DECIDED_S):
                while True:
                    if found := await asyncio.to_thread(self._entered, key, journey, event.event_id, since):
                        return found
                    await asyncio.sleep(LOOK_S)
        return Entered("waiting", key)

    def _entered(self, key: str, journey: str, cause: str, since: int) -> Entered | None:
        """The fact that tells what became of it."""
        state = self.state(key)
        if state is None:
            return None
        runs: list[Run | Ended] = [*state.runs.values(), *state.ended]
        for run in runs:
            if (run.journey, run.cause) == (journey, cause):
                return Entered("started", state.key, {"run_id": run.run_id})
        for row in self.store.journal(state.key, 50):
            status = STATUSES.get(row.kind)
            if row.at >= since and status == "refused" and row.data.get("journey") == journey:
                return Entered(status, state.key, row.data)
        return None

    async def publish(self, document: dict[str, Any], *, dry_run: bool = False) -> PublishReport:
        if (size := len(msgspec.json.encode(document))) > plan_watch.LARGEST:
            raise PlanRefused([("", f"{size:,} bytes are more than the topic `plan` takes: make templates smaller")])
        if dry_run:
            await self._newest_plan()
            return await super().publish(document, dry_run=True)
        async with self._alone():
            return await super().publish(document)

    async def create_broadcast(self, document: dict[str, Any], *, draft: bool = False) -> BroadcastRow:
        async with self._alone():
            return await super().create_broadcast(document, draft=draft)

    async def move_broadcast(self, broadcast_id: str, verb: str, reason: str = "") -> BroadcastRow:
        """A pause waits for nobody: it changes no plan."""
        async with self._alone() if verb in ("start", "cancel") else contextlib.nullcontext():
            return await super().move_broadcast(broadcast_id, verb, reason)

    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        """With what all workers have counted."""
        row = super().broadcast(broadcast_id)
        return None if row is None else summed(row, self.store, self._partitions)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """No other process puts a plan into force meanwhile, and what we know is the newest.  :class:`Busy` when
        another one does and goes on doing so."""
        async with self._publishing:
            until = steady_ms() + PATIENCE_MS
            while not await self._leads_publishing():
                if steady_ms() > until:
                    raise Busy("another process is publishing", 5)
                await asyncio.sleep(0.1)
            try:
                await self._newest_plan()
                yield
            finally:
                with contextlib.suppress(StoreAway):
                    await asyncio.to_thread(self.store.lead, self.owner, "publishing", 0)

    async def replay_dead_letters(self, ids: Sequence[str], repaired: dict[str, bytes]) -> list[Result]:
        """Entries that the log refused are published as they are."""
        letters = [letter for name in ids if (letter := self.store.dead_letter(name)) is not None]
        entries = {letter.id: (letter, row) for letter in letters if (row := row_in(letter)) is not None}
        others = [letter.id for letter in letters if letter.id not in entries]
        results = iter(await super().replay_dead_letters(others, repaired) if others else [])
        done = {name: await self._do(PublishAgain(*entry)) for name, entry in entries.items()}
        return [done[letter.id] if letter.id in done else next(results) for letter in letters]

    async def announce(self) -> None:
        """Tell the log the plan in force once more."""
        if (row := await asyncio.to_thread(self.store.plan)) is not None:
            await self._do(Announce(row))

    async def _leads_publishing(self) -> bool:
        return await asyncio.to_thread(self.store.lead, self.owner, "publishing", PUBLISH_MS)

    async def _newest_plan(self) -> None:
        """Judge by what is in force, whoever published it."""
        rows = await asyncio.to_thread(self.store.plans)
        if rows and self._desk.planned and rows[-1][0] > self.plan.version:
            await self._do(SeePlan(rows[-1][0]))

    async def plan_changed(self, published: Published) -> None:
        """Another process may have published this."""
        if self._accepting and published.plan.version > self.plan.version:
            await self._do(SeePlan(published.plan.version))
            self.dispatcher.plan_changed()
            self._sweeper.stir()
            self._broadcaster.stir()

    # -- reads --

    def render_context(self, message: MessageRow) -> dict[str, Any] | None:
        """That there is nothing to say ends a message for good, so then the store has the last word.
        :class:`StoreAway` when nobody can tell by now."""
        state, age_s = self.profiles.find(message.key)
        context = self._context(message, state)
        if context is None:
            age_s, context = None, self._context(message, self.profiles.stored(message.key))
        stale = {} if age_s is None else {"profile": max(round(age_s, 1), 0.1)}
        self._desk.rendered_from(message.message_id, stale)
        return context

    def _context(self, message: MessageRow, state: State | None) -> dict[str, Any] | None:
        return None if state is None else decide.render_context(state, self.plan, message.run_id, self.clock.now())


NO_STORE: Final = "events are taken and decided; mail, unsubscribes, the API and changes by hand wait for it"


async def patiently(run: Callable[[], Awaitable[None]]) -> None:
    """Again, when the store or the log was away; whatever else ends it ends the engine."""
    while True:
        try:
            await run()
            return
        except StoreAway as error:
            log.warning("the store is away", reason=str(error))
            await asyncio.sleep(PROBE_S)


def owner_name(host: str, pid: int, at: int) -> str:
    """One life of one process: no other ever has this name."""
    return f"{host}-{pid}-{make_id('owner', host, pid, at)[:6]}"
