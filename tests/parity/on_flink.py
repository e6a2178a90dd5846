"""A recorded log fed to the real job by Kafka.

The job reads ``PREFIX.records`` and writes under ``PREFIX.said``: what it emits lies beside the log and is held against
the hops that stand in it.  Its wake-ups lie there, too, and are fed to nobody: the log has its own.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence

from msgspec.structs import replace

from heliograph.adapters.flink.cluster import Flink
from heliograph.adapters.kafka import KafkaStream, ensure_topics
from heliograph.config.settings import FlinkSetting, KafkaSetting
from heliograph.decide.decided import decode_decided
from heliograph.events.partitions import partition_key
from heliograph.events.record import Kind, decode_record, record_head
from heliograph.ports import Entry, PlanRow
from heliograph.ports.stream import EFFECTS, RECORDS, Post
from heliograph.runtime.plan_watch import plan_post
from tests.parity.answers import Answer, from_afar
from tests.recorded import Recording

PORTION = 1_000
AHEAD = 8
"""Portions under way."""
SILENCE_S = 300
"""Nothing was said for so long: it is not coming any more."""
QUIET_S = 3
"""At the end nothing more may come; listened for so long."""


class OnFlink:
    """One job on one log.  ``wakes``: keys and instants of the wake-ups that it appended."""

    def __init__(self, kafka: KafkaSetting, flink: FlinkSetting, mode: str, slots: int) -> None:
        self._into = replace(kafka, prefix=f"{kafka.prefix}.said")
        self._slots, self._mode = slots, mode
        self._flink = Flink(flink, self._into)
        self._submit = Flink(flink, kafka).submit
        self.log, self.said = KafkaStream(kafka), KafkaStream(self._into)
        self.hops: list[bytes] = []
        self.wakes: list[tuple[str, int]] = []
        self.decided_s = 0.0
        """From the first decision to the last."""
        for setting in (kafka, self._into):
            ensure_topics(setting)

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, -1)

    async def revoked(self, partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        """Never: it reads all of them by itself."""

    async def feed(self, recording: Recording) -> None:
        appender = self.log.appender()
        plans = [plan_post(PlanRow(version, document, 0)) for version, document in recording.plans]
        await appender.append(plans)
        under_way: deque[asyncio.Future[list[tuple[int, int]]]] = deque()
        for posts in _posts(recording):
            under_way.append(asyncio.ensure_future(appender.append(posts)))
            if len(under_way) == AHEAD:
                await under_way.popleft()
        await asyncio.gather(*under_way)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        options = ["--into", self._into.prefix, "--mode", self._mode, "--restarts", "none", "--no-facts"]
        self._submit(self._slots, "", options)
        try:
            yield
        finally:
            if (job := self._flink.job()) is not None:
                self._flink.stop(job["jid"])

    async def answers(self, wanted: int) -> AsyncIterator[Answer]:
        """So many decisions, and then no more."""
        reader = self.said.reader([EFFECTS, RECORDS], self, group=None)
        heard, first, last = 0, 0.0, time.monotonic()
        while (silence := time.monotonic() - last) < (SILENCE_S if heard < wanted else QUIET_S):
            entries = await reader.read(PORTION, 0.5)
            if not entries:
                self._judge(silence)
                continue
            last = time.monotonic()
            first = first or last
            for entry in entries:
                if entry.topic == EFFECTS:
                    heard += 1
                    yield from_afar(decode_decided(entry.value))
                else:
                    self._hear(entry)
            self.decided_s = last - first
        assert heard == wanted, f"{heard} decisions on {wanted} records"

    def _hear(self, entry: Entry) -> None:
        if record_head(entry.value).kind == Kind.WAKE:
            record = decode_record(entry.value)
            self.wakes.append((record.key, record.received_at))
        else:
            self.hops.append(entry.value)

    def _judge(self, silence: float) -> None:
        """A job that failed says why."""
        if silence > 5:
            assert self._flink.job() is not None, "the job is over: see the logs of the TaskManagers"

    async def close(self) -> None:
        await self.log.close()
        await self.said.close()


def _posts(recording: Recording) -> Iterator[list[Post]]:
    posts: list[Post] = []
    for data in recording:
        posts.append(Post(RECORDS, partition_key(record_head(data).bucket), data))
        if len(posts) == PORTION:
            yield posts
            posts = []
    yield posts
