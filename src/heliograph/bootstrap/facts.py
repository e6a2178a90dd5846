"""The loader of facts, wired: a process of its own, beside a server or anywhere near Kafka.

``python -m heliograph.bootstrap.facts`` takes a :class:`Job` as a line on stdin, tells of its progress on stdout and
ends when stdin closes: so it lives as long as the server that started it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec
import structlog

from heliograph.adapters.rocksdb import RocksView
from heliograph.config import Settings
from heliograph.config.settings import KafkaSetting
from heliograph.ports import StoreFailed
from heliograph.ports.facts import FactsRefused, FactsTooNew
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.clock import SystemClock
from heliograph.runtime.fact_sources import LogSource, TopicSource
from heliograph.runtime.loading import Loader, Progress, Source
from heliograph.runtime.logs import configure_logs

NICENESS: Final = 10
"""Behind the owner of the data folder and its mailers, before backtests."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
LINK_KEYS: Final = "link_keys"

log = structlog.get_logger("heliograph.facts")


class Job(msgspec.Struct, frozen=True):
    """``url``: of the tables.  With ``kafka`` brokers the topic is loaded, else the log in the folder ``data``."""

    url: str
    data: str = ""
    kafka: KafkaSetting = KafkaSetting()


def job_of(settings: Settings, data: Path) -> Job:
    """Raises :class:`FactsRefused` when the settings name no place for facts."""
    if not settings.clickhouse.url:
        raise FactsRefused("facts are not loaded: set clickhouse.url in heliograph.toml (chdb:///PATH or https://...)")
    return Job(settings.clickhouse.url, str(data.resolve()), settings.kafka)


def source_of(job: Job) -> Source:
    """Raises :class:`FactsRefused` or what opening a data folder raises."""
    if job.kafka.brokers:
        from heliograph.adapters.kafka import KafkaStream

        return TopicSource(KafkaStream(job.kafka), f"{job.kafka.prefix}.{EFFECTS}")
    folder = Path(job.data)
    with contextlib.closing(RocksView(folder)) as view:
        keys = view.meta(LINK_KEYS)
    if keys is None:
        raise FactsRefused(f"no server ever ran with {folder}: start one with it first")
    name = "log-" + blake2b(keys, digest_size=6, person=b"facts").hexdigest()
    return LogSource(lambda: RocksView(folder), name)


async def load(job: Job, heard: Callable[[Progress], None]) -> None:
    """Until SIGTERM or SIGINT.  Raises :class:`FactsTooNew`, :class:`FactsRefused` and ValueError (a wrong url)."""
    from heliograph.adapters.clickhouse import ClickhouseSink, QueryDesk, place_of

    place = place_of(job.url)
    sink = ClickhouseSink(place)
    loader = Loader(sink, source_of(job), SystemClock(), heard)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, loader.stop)
    with contextlib.ExitStack() as stack:
        stack.callback(sink.close)
        if place.path is not None:
            stack.callback(QueryDesk(sink, place.path).close)
        await loader.run()


class FactsKeeper:
    """Keeps a loader running beside a server.  Starts and reads it in a thread: a process started by the loop holds
    everybody up."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._progress = Progress(0)
        self._heard_at = monotonic()
        self._thread = threading.Thread(target=self._keep, name="facts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """At most a few seconds: a block that is under way is repeated by the next loader."""
        self._ending.set()
        if (process := self._process) is not None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
        self._thread.join(5)

    def lag_s(self) -> float:
        """How far what can be asked for is behind, also when the loader is silent."""
        silent = monotonic() - self._heard_at
        return self._progress.lag_ms / 1000 + (silent if silent > 2 or self._progress.lag_ms else 0)

    def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._ending.is_set():
            started = monotonic()
            code = self._run()
            if self._ending.is_set():
                return
            pause = FIRST_PAUSE_S if monotonic() - started > LONGEST_PAUSE_S else min(pause * 2, LONGEST_PAUSE_S)
            log.error("the loader of facts ended", code=code, again_in_s=pause)
            self._ending.wait(pause)

    def _run(self) -> int:
        command = [sys.executable, "-m", "heliograph.bootstrap.facts"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            self._process = process
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(OSError):
                process.stdin.write(msgspec.json.encode(self._job) + b"\n")
                process.stdin.flush()
            for line in process.stdout:
                self._progress = msgspec.json.decode(line, type=Progress)
                self._heard_at = monotonic()
            return process.wait()


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)  # whatever is under way is repeated


def _tell(progress: Progress) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(progress) + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    os.nice(NICENESS)
    configure_logs()
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        asyncio.run(load(job, _tell))
    except (FactsRefused, FactsTooNew, StoreFailed, ValueError) as error:
        log.error("facts cannot be loaded", reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
