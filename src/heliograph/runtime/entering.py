"""Entries by API, on their way through the one queue: asked, decided, answered."""

from typing import Final, Literal

from heliograph.decide.state import Ended, Run
from heliograph.events.record import Enter
from heliograph.ports import Entered, JournalRow
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.past import survivor
from heliograph.runtime.work import Call

STATUSES: Final[dict[str, Literal["started", "refused"]]] = {"run_started": "started", "run_refused": "refused"}


class Enters(Call[Entered]):
    """An entry by API."""

    patient = True

    def __init__(self, key: str, body: Enter) -> None:
        super().__init__()
        self._key, self._body = key, body

    def decide(self, chunk: Chunk) -> None:
        before = len(chunk.commit.journal)
        chunk.duplicate = False
        chunk.append(self._key, self._body, self._body.event.event_id)
        if chunk.far:
            self.result = Entered("waiting", self._key)
            return
        told = chunk.commit.journal[before:]
        self.result = next(filter(None, (self._read(key, fact) for key, fact in told)), None) or self._untold(chunk)

    def _read(self, key: str, fact: JournalRow) -> Entered | None:
        status = STATUSES.get(fact.kind)
        return Entered(status, key, fact.data) if status and fact.data.get("journey") == self._body.journey else None

    def _untold(self, chunk: Chunk) -> Entered:
        """No fact: it was told before, or it waits."""
        state = survivor(self._key, chunk.desk.state)
        name, cause = self._body.journey, self._body.event.event_id
        if state is None:
            return Entered("refused", self._key, {"reason": "unknown"})
        runs: list[Run | Ended] = [*state.runs.values(), *state.ended]
        for run in runs:
            if (run.journey, run.cause) == (name, cause):
                return Entered("duplicate", state.key, {"run_id": run.run_id})
        if chunk.duplicate:
            return Entered("duplicate", state.key)
        if state.parked:
            return Entered("waiting", state.key)
        return Entered("refused", state.key, {"reason": "if_false" if name in state.refused else "unknown"})
