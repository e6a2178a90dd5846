"""The memory twin of a :class:`~heliograph.ports.Transport`: delivers into a list, verdicts as a test wants them."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from heliograph.deliver.routes import Reach
from heliograph.ports import Courier, Parcel, Verdict

MAX_ASK = 50
"""Commit points asked for together (design, section 2)."""

ACCEPTED = Verdict("sent", 250, "2.0.0", "250 2.0.0 kept in memory", "dot")


class MemoryTransport:
    """``receive``: what the receiver says of a parcel; by default it takes everything.  ``parcels``: what it took."""

    def __init__(self, courier: Courier, receive: Callable[[Parcel], Verdict] = lambda _: ACCEPTED) -> None:
        self.parcels: list[Parcel] = []
        self._courier = courier
        self._receive = receive
        self._posted: deque[Parcel] = deque()
        self._asked: dict[str, Parcel] = {}
        self._closed = False

    def room(self, route: str, receiver: str) -> int:
        return MAX_ASK - len(self._posted)

    def post(self, parcel: Parcel) -> None:
        self._posted.append(parcel)
        self._ask()

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None:
        asked, self._asked = self._asked, {}
        for message_id in go:
            if parcel := asked.pop(message_id, None):
                self._deliver(parcel)
        self._ask()

    def reach(self, receivers: Mapping[str, Reach]) -> None: ...

    async def close(self, grace_s: float) -> None:
        self._closed = True
        self._posted.clear()

    def _ask(self) -> None:
        """One ask at a time, for all that is waiting."""
        if self._closed or self._asked or not self._posted:
            return
        for _ in range(min(MAX_ASK, len(self._posted))):
            parcel = self._posted.popleft()
            self._asked[parcel.message_id] = parcel
        self._courier.ask(list(self._asked))

    def _deliver(self, parcel: Parcel) -> None:
        late = parcel.leave is not None and parcel.leave.over
        verdict = Verdict("retry", 0, "", "too late", "data") if late else self._receive(parcel)
        if verdict.kind == "sent":
            self.parcels.append(parcel)
        self._courier.delivered(parcel, verdict)
