"""The caller of webhooks: makes the HTTP requests that runs wait for, and brings back what was answered.

::

    chunk on disk --offer--> Calls --take--> one try --ok, refused or given up--> Answered --> the processor's queue
                               ^                |
                               +---- again -----+

A request is on disk before its first try, and goes from there in the commit that holds its ``Answer``.  So it is made
at least once: a process that dies between the two makes it again, under the same ``webhook-id``.  How often it was
tried is kept in memory only; after a restart the first try comes at once.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import structlog
from msgspec.structs import replace

from heliograph.deliver import webhooks as rules
from heliograph.events.record import Answer
from heliograph.ports import Clock, HttpCaller, HttpFailed, HttpReply, HttpRequest, Outstanding, RequestRow, Store
from heliograph.runtime.calls import Call, Calls
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.meter import Meter
from heliograph.runtime.work import ROW_BYTES, Work

LONGEST_SLEEP_S = 1.0
"""The wall clock may be set: look again at least this often."""
PORTION = 500
"""Rows read, or tries started, before others have a turn."""
MAX_ANSWERS = 1_000
"""On their way to the disk: while there are more, nothing is tried or given up, because the queue takes all of them."""
ROUND_S = 60.0
"""At least so often everything that did not fit into memory is read, to give up what nobody can make in time."""

log = structlog.get_logger("heliograph.webhooks")


class Answered(Work):
    """What a request came to, on its way to the person and to the disk.  One that was dropped meanwhile is passed
    over."""

    internal = patient = True

    def __init__(self, row: RequestRow, answer: Answer, size: int, ended: Callable[[], None] = lambda: None) -> None:
        self.row, self.answer = row, answer
        self.size = ROW_BYTES + size
        self._ended = ended

    def decide(self, chunk: Chunk) -> None:
        if chunk.desk.request(self.row.request_id) is not None:
            chunk.append(self.row.key, self.answer, self.row.request_id)

    def settled(self) -> None:
        self._ended()

    def failed(self, error: Exception) -> None:
        log.error("an answer could not be decided", request_id=self.row.request_id, error=str(error))
        self._ended()


class Nobody:
    """A caller for engines that reach no network."""

    async def call(self, request: HttpRequest, max_body: int) -> HttpReply:
        raise HttpFailed("this engine makes no requests", final=True)

    async def close(self) -> None:
        """Nothing to let go of."""


class Webhooks:
    """``keys``: the secrets in use.  ``waits``: whether a request is on disk and has no answer yet."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        meter: Meter,
        *,
        put: Callable[[Work], None],
        waits: Callable[[str], bool],
        caller: HttpCaller,
        keys: Sequence[bytes] = (),
        calls: Calls | None = None,
    ) -> None:
        self._store, self._clock, self._meter, self._put = store, clock, meter, put
        self._waits, self._caller, self._keys = waits, caller, keys
        self.calls = Calls() if calls is None else calls
        self._tries: set[asyncio.Task[None]] = set()
        self._stirred = asyncio.Event()
        self._draining = False
        self._answers = 0
        """On their way to the disk."""
        self._at = ""
        """Where the round through the store is: it stops when nobody there has room here, and goes on from there."""
        self._whole = True
        """This round goes to its end, whoever has room."""
        self._ended = time.monotonic()

    # -- from the engine --

    def settled(self, made: Iterable[RequestRow], ended: Iterable[str]) -> None:
        """A commit is on disk: these are to be called, these are over."""
        for row in made:
            self.calls.add(row)
        for request_id in ended:
            self.calls.forget(request_id)
        self._stirred.set()

    def stir(self) -> None:
        """Look now: the clock was moved."""
        self._stirred.set()

    def read_again(self) -> None:
        """More people are ours: what they wait for is in the store."""
        self._at, self._whole = "", True
        self._stirred.set()

    def pending(self, limit: int) -> list[Outstanding]:
        """Requests that wait, by id."""
        rows = islice(self._store.requests(), limit)
        found = [(row, self.calls.get(row.request_id)) for row in rows]
        return [Outstanding(row, call.tries if call else 0, call.reason if call else "") for row, call in found]

    async def run(self) -> None:
        while True:
            self._stirred.clear()
            if self._answers < MAX_ANSWERS and self._read() | self._give_up() | self._start():
                await asyncio.sleep(0)
            else:
                await self._sleep()

    async def drain(self, patience_s: float) -> None:
        """Begin no more tries and wait for those under way; what has no answer then is made again after a restart."""
        self._draining = True
        if self._tries:
            await asyncio.wait(self._tries, timeout=patience_s)
        cut = list(self._tries)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        await self._caller.close()

    # -- from the store --

    def _read(self) -> bool:
        """A portion of what did not fit; False when there is nothing to do there."""
        if self.calls.refused and time.monotonic() - self._ended > ROUND_S:
            self._whole = True
        if not self._whole and not self.calls.hungry:
            return False
        rows = list(islice(self._store.requests(self._at), PORTION))
        for row in rows:
            self._take_in(row)
        if len(rows) == PORTION:
            self._at = rows[-1].request_id
        else:
            self._at, self._whole, self._ended = "", False, time.monotonic()
            self.calls.end_round()
        return True

    def _take_in(self, row: RequestRow) -> None:
        if self.calls.get(row.request_id) is not None:
            return
        fits = self.calls.fits(row)
        if not fits and row.give_up_at > self._clock.now():
            return
        if not self._waits(row.request_id):
            return
        if fits:
            self.calls.add(row)
        else:
            self._answer(row, given_up(Answer(row.request_id, False)))

    # -- one try --

    def _start(self) -> bool:
        now = self._clock.now()
        for _ in range(PORTION):
            call = None if self._draining else self.calls.take(now)
            if call is None:
                return False
            task = asyncio.create_task(self._try(call), name=f"webhook {call.row.request_id}")
            self._tries.add(task)
            task.add_done_callback(self._tries.discard)
        return True

    async def _try(self, call: Call) -> None:
        began = time.perf_counter()
        try:
            verdict, answer, size = await self._call(call.row)
        finally:
            self.calls.release(call)
            self._stirred.set()
        call.tries += 1
        call.reason = verdict.reason
        self._meter.observe("webhook_seconds", time.perf_counter() - began)
        self._meter.count("webhook_tries_total", verdict.kind)
        if call.gone:
            return
        if verdict.kind != "again":
            self._answer(call.row, answer, size)
        elif (at := self._next(call, verdict)) is not None:
            self.calls.again(call, at)
        else:
            self._answer(call.row, given_up(answer))

    async def _call(self, row: RequestRow) -> tuple[rules.Judgement, Answer, int]:
        now = self._clock.now()
        headers = rules.headers(row.request_id, row.body, now, self._keys)
        request = HttpRequest(row.method, row.url, headers, row.body, row.timeout_ms / 1000)
        try:
            reply = await self._caller.call(request, rules.MAX_REPLY)
        except HttpFailed as error:
            return failure(row, "failed" if error.final else "again", error.reason)
        except Exception as error:
            log.exception("a request broke the caller", request_id=row.request_id, error=str(error))
            return failure(row, "failed", "internal: the server's log says why")
        verdict = rules.judge(reply.status, reply.headers, self._clock.now())
        ok = verdict.kind == "ok"
        body = rules.read_json(reply.body) if ok else None
        return verdict, Answer(row.request_id, ok, reply.status, body, verdict.reason), len(reply.body)

    def _next(self, call: Call, verdict: rules.Judgement) -> int | None:
        row = call.row
        return rules.next_try(row.request_id, call.tries, self._clock.now(), row.give_up_at, verdict.after_ms)

    def _give_up(self) -> bool:
        overdue = list(islice(self.calls.overdue(self._clock.now()), PORTION))
        for call in overdue:
            self._answer(call.row, given_up(Answer(call.row.request_id, False, reason=call.reason)))
        return len(overdue) == PORTION

    def _answer(self, row: RequestRow, answer: Answer, size: int = 0) -> None:
        self._meter.count("webhooks_total", "ok" if answer.ok else "failed")
        if not answer.ok:
            log.warning("webhook failed", request_id=row.request_id, journey=row.journey, step=row.step_id,
                        status=answer.status, reason=answer.reason)  # fmt: skip
        self._put(Answered(row, answer, size, self._answered))
        self._answers += 1

    def _answered(self) -> None:
        self._answers -= 1
        if self._answers < MAX_ANSWERS:
            self._stirred.set()

    async def _sleep(self) -> None:
        seconds, first = LONGEST_SLEEP_S, self.calls.next_at()
        if first is not None and self._answers < MAX_ANSWERS:
            seconds = min(max(first - self._clock.now(), 1) / 1000, LONGEST_SLEEP_S)
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass


def failure(row: RequestRow, kind: str, reason: str) -> tuple[rules.Judgement, Answer, int]:
    """A try without a reply."""
    return rules.Judgement(kind, reason), Answer(row.request_id, False, reason=reason), 0


def given_up(answer: Answer) -> Answer:
    """The last word on a request that had its time."""
    return replace(answer, reason=f"given up: {answer.reason}" if answer.reason else "given up before it was tried")
