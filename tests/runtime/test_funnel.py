"""The way to the shared log and its side way over the disk: nothing acknowledged is lost, nobody's order changes."""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from pathlib import Path

import pytest

from heliograph.adapters.spool import FileSpool
from heliograph.ports import Busy, Post, StreamAway, StreamRefused
from heliograph.runtime.funnel import LOG, SPOOL, Funnel
from heliograph.runtime.meter import Meter
from tests.runtime.harness import until

MB = 1 << 20


class MoodyLog:
    """One partition of a log whose producer behaves as librdkafka's: entries leave in the order in which they came,
    an entry may be there although nobody heard so, and none overtakes another."""

    def __init__(self, rng: random.Random) -> None:
        self.entries: list[Post] = []
        self.away = self.slow = False
        self.refuses = ""
        self._rng = rng
        self._turn: asyncio.Future[None] | None = None

    def append(self, posts: Sequence[Post]) -> Awaitable[list[tuple[int, int]]]:
        before, mine = self._turn, asyncio.get_running_loop().create_future()
        self._turn = mine
        appending = asyncio.ensure_future(self._append(list(posts), before))
        appending.add_done_callback(lambda _: mine.set_result(None))  # also of one that is cancelled before it begins
        return appending

    async def _append(self, posts: list[Post], before: "asyncio.Future[None] | None") -> list[tuple[int, int]]:
        if before is not None:
            await asyncio.shield(before)
        if self.refuses:
            raise StreamRefused(self.refuses)
        if self.slow:
            await asyncio.sleep(0.3)
        if self.away:
            await asyncio.sleep(self._rng.random() * 0.005)
            if self._rng.random() < 0.3:
                self.entries += posts  # it is there, but its acknowledgement was lost
            raise StreamAway("no broker answers")
        self.entries += posts
        return [(0, len(self.entries))]

    async def partitions(self, topic: str) -> int:
        return 1

    async def close(self, patience_s: float) -> None:
        pass


def post(name: str, number: int) -> Post:
    return Post("records", name.encode(), b"%d" % number)


def first_times(log: MoodyLog, name: str) -> list[int]:
    """What a brain that drops repetitions sees of one person."""
    return list(dict.fromkeys(int(one.value) for one in log.entries if one.key == name.encode()))


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_acknowledged_is_lost_and_everybodys_order_stays(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    log = MoodyLog(rng)
    spool = FileSpool(tmp_path, MB, segment_bytes=700)
    funnel = Funnel(log, spool, Meter(), slow_s=0.1, pause_s=0.01)
    answers: list[str] = []

    async def client(name: str) -> None:
        for number in range(60):
            answers.append(await funnel.put([post(name, number)]))
            await asyncio.sleep(rng.random() * 0.01)

    async def weather() -> None:
        for turn in range(6):
            await asyncio.sleep(0.01 + rng.random() * 0.05)
            log.away = not turn or rng.random() < 0.6
        log.away = False

    await asyncio.gather(weather(), *(client(f"c{number}") for number in range(10)))
    await until(lambda: not funnel.spooling and not spool.waiting)
    for number in range(10):
        assert first_times(log, f"c{number}") == list(range(60))
    assert set(answers) == {LOG, SPOOL}
    assert not funnel.away
    await funnel.close(1)
    spool.close()


async def test_a_log_that_is_slow_is_answered_from_the_disk(tmp_path: Path) -> None:
    log = MoodyLog(random.Random(1))
    log.slow = True
    spool = FileSpool(tmp_path, MB)
    funnel = Funnel(log, spool, Meter(), slow_s=0.05, pause_s=0.01)
    assert await asyncio.gather(*(funnel.put([post("a", number)]) for number in range(3))) == [SPOOL] * 3
    assert "no acknowledgement" in funnel.away
    log.slow = False
    await until(lambda: not funnel.spooling and not spool.waiting)
    assert await funnel.put([post("a", 3)]) == LOG
    assert first_times(log, "a") == [0, 1, 2, 3]
    await funnel.close(1)
    spool.close()


async def test_what_a_process_left_behind_goes_before_what_comes_next(tmp_path: Path) -> None:
    log = MoodyLog(random.Random(1))
    log.away = True
    spool = FileSpool(tmp_path, MB)
    funnel = Funnel(log, spool, Meter(), pause_s=0.01)
    assert [await funnel.put([post("a", number)]) for number in range(5)] == [SPOOL] * 5
    await funnel.close(0.1)
    spool.close()
    log.away = False
    log.entries.clear()
    spool = FileSpool(tmp_path, MB)
    funnel = Funnel(log, spool, Meter(), pause_s=0.01)
    funnel.start()
    await funnel.put([post("a", 5)])
    await until(lambda: not spool.waiting)
    assert first_times(log, "a") == [0, 1, 2, 3, 4, 5]
    await funnel.close(1)
    spool.close()


async def test_a_full_spool_says_come_back_and_keeps_what_it_has(tmp_path: Path) -> None:
    log = MoodyLog(random.Random(1))
    log.away = True
    spool = FileSpool(tmp_path, 200)
    funnel = Funnel(log, spool, Meter(), pause_s=0.01)
    kept = 0
    with pytest.raises(Busy, match="full") as refused:
        for number in range(50):
            await funnel.put([post("a", number)])
            kept += 1
    assert refused.value.retry_after_s > 0
    log.away = False
    await until(lambda: not spool.waiting)
    assert first_times(log, "a")[:kept] == list(range(kept))
    assert await funnel.put([post("a", 99)]) == LOG
    await funnel.close(1)
    spool.close()


async def test_without_a_spool_callers_hear_at_once_that_the_log_is_away() -> None:
    log = MoodyLog(random.Random(1))
    funnel = Funnel(log, None, Meter())
    log.away = True
    with pytest.raises(Busy, match="away"):
        await funnel.put([post("a", 1)])
    log.away = False
    assert await funnel.put([post("a", 2)]) == LOG
    assert not funnel.away
    await funnel.close(1)


async def test_what_the_log_refuses_is_kept_until_somebody_has_mended_it(tmp_path: Path) -> None:
    log = MoodyLog(random.Random(1))
    log.refuses = "there is no topic heliograph.records; run `heliograph topics`"
    spool = FileSpool(tmp_path, MB)
    funnel = Funnel(log, spool, Meter(), pause_s=0.01)
    assert await funnel.put([post("a", 1)]) == SPOOL
    assert "no topic" in funnel.away
    log.refuses = ""
    await until(lambda: not spool.waiting and not funnel.spooling)
    assert first_times(log, "a") == [1]
    await funnel.close(1)
    spool.close()


async def test_more_than_may_be_under_way_is_turned_away_at_once() -> None:
    log = MoodyLog(random.Random(1))
    log.slow = True
    funnel = Funnel(log, None, Meter())
    waits = [asyncio.ensure_future(funnel.put([post("a", number)] * 100)) for number in range(82)]
    with pytest.raises(Busy, match="full"):
        funnel.put([post("a", 1)])
    log.slow = False
    await asyncio.gather(*waits)
    await funnel.close(1)


class BadDisk(FileSpool):
    """``broken``: it cannot be read for a while; ``hidden``: what is in it does not show."""

    broken = hidden = False
    looks = 0

    def peek(self, limit: int) -> list[Post]:
        self.looks += 1
        if self.broken:
            raise OSError(5, "Input/output error")
        return [] if self.hidden else super().peek(limit)


@pytest.mark.parametrize("trouble", ["broken", "hidden"])
async def test_a_disk_that_cannot_be_read_for_a_while_ends_nothing_and_stops_nobody(
    tmp_path: Path, trouble: str
) -> None:
    log = MoodyLog(random.Random(1))
    log.away = True
    spool = BadDisk(tmp_path, MB)
    funnel = Funnel(log, spool, Meter(), pause_s=0.02)
    setattr(spool, trouble, True)
    assert await funnel.put([post("a", 1)]) == SPOOL
    log.away = False
    await asyncio.sleep(0.2)
    assert spool.looks < 50, "it does not spin"
    assert await funnel.put([post("a", 2)]) == SPOOL, "nothing overtakes what cannot be read"
    assert trouble == "hidden" or "Input/output error" in funnel.away
    setattr(spool, trouble, False)
    await until(lambda: not spool.waiting and not funnel.spooling)
    assert first_times(log, "a") == [1, 2] and not funnel.away
    assert await funnel.put([post("a", 3)]) == LOG
    await funnel.close(1)
    spool.close()
