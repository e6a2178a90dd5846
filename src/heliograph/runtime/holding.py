"""Holding and lifting, on their way through the one queue: every commit point comes before or after."""

from collections.abc import Callable

from heliograph.ports import Hold
from heliograph.runtime import offering
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.work import Call


class HoldMail(Call[Hold]):
    """Hold the mail of a journey or broadcast.  ``internal``: of the runtime itself, never refused; ``held`` is called
    when that is on disk."""

    urgent = True

    def __init__(
        self,
        journey: str,
        reason: str,
        by: str,
        *,
        internal: bool = False,
        held: Callable[[str], None] = lambda _journey: None,
    ) -> None:
        super().__init__()
        self._journey, self._reason, self._by, self._held = journey, reason, by, held
        self.internal = internal

    def decide(self, chunk: Chunk) -> None:
        self.result = chunk.desk.holds.put(chunk, self._journey, self._reason, self._by)
        offering.held(chunk, self._journey, self.result.reason)

    def settled(self) -> None:
        self._held(self._journey)
        super().settled()


class LiftMail(Call[Hold | None]):
    """Let it go again; ``lifted`` is called when that is on disk."""

    urgent = True

    def __init__(self, journey: str, lifted: Callable[[str], None]) -> None:
        super().__init__()
        self._journey, self._lifted = journey, lifted

    def decide(self, chunk: Chunk) -> None:
        self.result = chunk.desk.holds.lift(chunk, self._journey)
        offering.lifted(chunk, self._journey)

    def settled(self) -> None:
        self._lifted(self._journey)
        super().settled()
