"""A small steady load: four times a second another customer orders, through a client that tries again."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tests.cluster.machine import call
from tests.integration.test_kill9 import KEY

EVERY_S: Final = 0.25
AGAIN_S: Final = 1.0


class Answer(msgspec.Struct):
    """``said``: status and durability; ``at``: when it was asked (monotonic)."""

    at: float
    said: str
    seconds: float
    retry_after: str


class Load:
    """``prefix``: of its customers; ``url``: of the collector.  Offers while the ``with`` lasts, then tries again what
    was refused until it is taken."""

    def __init__(self, prefix: str, url: Callable[[], str]) -> None:
        self.prefix = prefix
        self.answers: list[Answer] = []
        self.acknowledged: set[str] = set()
        """Addresses whose order was answered 200."""
        self.refused: list[list[dict[str, Any]]] = []
        self._url, self._count = url, 0
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def offer(self, count: int = 1, pad: int = 0) -> tuple[Answer, set[str]]:
        """One call with so many orders of ``pad`` bytes more; whose they are."""
        with self._lock:
            numbers = range(self._count, self._count + count)
            self._count += count
        batch = [order(f"{self.prefix}-{number}", pad) for number in numbers]
        return self._put(batch), {address(one) for one in batch}

    def _put(self, batch: list[dict[str, Any]]) -> Answer:
        at = time.monotonic()
        status, headers, _ = call(self._url() + "/v1/batch", {"writeKey": KEY, "batch": batch})
        durable = headers.get("heliograph-durable", "")
        answer = Answer(at, f"{status} {durable}".strip(), time.monotonic() - at, headers.get("retry-after", ""))
        with self._lock:
            self.answers.append(answer)
            if status == 200:
                self.acknowledged |= {address(one) for one in batch}
            else:
                self.refused.append(batch)
        return answer

    def _run(self) -> None:
        again_at = 0.0
        while not self._end.is_set() or self.refused:
            if not self._end.is_set():
                self.offer()
            if self.refused and time.monotonic() > again_at:
                self._again()
                again_at = time.monotonic() + AGAIN_S
            self._end.wait(EVERY_S) if not self._end.is_set() else time.sleep(EVERY_S)

    def _again(self) -> None:
        """What was refused, until something is refused again."""
        for _ in range(len(self.refused)):
            with self._lock:
                batch = self.refused.pop(0)
            if not self._put(batch).said.startswith("200"):
                return

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def end(self, patience_s: float) -> None:
        """Nobody orders any more; returns when every call has its answer, and what was refused has been taken."""
        self._end.set()
        self._thread.join(patience_s)
        assert not self._thread.is_alive(), f"{len(self.refused)} calls are still refused"

    def __exit__(self, kind: object, *_: object) -> None:
        self._end.set()
        if kind is not None:
            self.refused.clear()
        self._thread.join()


def order(name: str, pad: int) -> dict[str, Any]:
    return {
        "type": "track", "event": "Order Completed", "userId": name, "messageId": f"order-{name}",
        "properties": {"order_id": name, "pad": "x" * pad}, "context": {"traits": {"email": f"{name}@x.test"}},
    }  # fmt: skip


def address(event: dict[str, Any]) -> str:
    return f"{event['userId']}@x.test"
