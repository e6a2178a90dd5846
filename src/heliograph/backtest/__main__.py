"""A process of a backtest: ``python -m heliograph.backtest < job``.

It yields to everybody else on the machine, and cannot open a socket: whoever tries gets an exception.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from heliograph.backtest import job as jobs
from heliograph.backtest.part import Partial
from heliograph.ports import StoreFailed, StoreTooNew
from heliograph.runtime.clock import SystemClock

NICENESS: Final = 19
LOOK_S: Final = 0.25
"""Between two looks at what was appended."""
_FORBIDDEN: Final = frozenset(
    {"socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"}
)


Asked = jobs.Job | jobs.PartJob | jobs.VerifyJob | jobs.ShadowJob


def forbid_sockets() -> None:
    """For the rest of this process, for good: an audit hook cannot be taken out again."""

    def refuse(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            raise PermissionError(f"a backtest opens no socket ({event})")

    sys.addaudithook(refuse)


def step_back(pid: int = 0) -> None:
    """Let this process, or that one, run only when nobody else wants to."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
        return
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)


def command() -> list[str]:
    return [sys.executable, "-m", "heliograph.backtest"]


def end_with(stdin: int) -> None:
    """End this process when whoever started it closes our stdin, or dies."""

    def wait() -> None:
        while os.read(stdin, 1024):
            pass
        os._exit(2)

    threading.Thread(target=wait, daemon=True).start()


def say(word: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(word) + b"\n")
    sys.stdout.buffer.flush()


class _Rows(msgspec.Struct, frozen=True, tag="rows", tag_field="say"):
    count: int


class _Counted(msgspec.Struct, frozen=True, tag="counted", tag_field="say"):
    partial: Partial


def spread(parts: list[jobs.PartJob], told: jobs.Told) -> list[Partial]:
    """One child a part."""
    children = [subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in parts]
    found: list[Partial | None] = [None] * len(parts)
    lock = threading.Lock()

    def follow(at: int) -> None:
        child = children[at]
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(msgspec.json.encode(parts[at]) + b"\n")
        child.stdin.flush()
        for line in child.stdout:
            word = msgspec.json.decode(line, type=_Rows | _Counted)
            if isinstance(word, _Counted):
                found[at] = word.partial
            else:
                with lock:
                    told(word.count)

    threads = [threading.Thread(target=follow, args=(at,)) for at in range(len(parts))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for child in children:
            child.kill()
            child.wait()
    whole = [one for one in found if one is not None]
    if len(whole) < len(parts):
        raise RuntimeError("a process of the backtest died; its error stands above")
    return whole


def work(asked: Asked) -> None:
    match asked:
        case jobs.PartJob():
            say(_Counted(jobs.run_part(asked, lambda rows: say(_Rows(rows)))))
        case jobs.VerifyJob():
            say(jobs.Judged(jobs.run_verify(asked)))
        case jobs.ShadowJob():
            jobs.run_shadow(asked, say, SystemClock(), lambda: time.sleep(LOOK_S))
        case jobs.Job():
            say(jobs.Ended(jobs.run_job(asked, spread, say)))


def guarded(task: Callable[[], None]) -> int:
    """Run it; tell on stdout what the caller can mend."""
    try:
        task()
    except jobs.Refused as refused:
        say(jobs.Failed(str(refused), refused.problems))
        return 1
    except (StoreFailed, StoreTooNew) as error:
        say(jobs.Failed(str(error)))
        return 1
    return 0


def main() -> int:
    forbid_sockets()
    step_back()
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Asked)
    end_with(sys.stdin.fileno())
    return guarded(lambda: work(asked))


if __name__ == "__main__":
    sys.exit(main())
