"""Plans that another process published, and the topic that has to know them: work for the processor."""

from heliograph.ports import PlanRow
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.plan_watch import relayed_plan
from heliograph.runtime.work import Call


class SeePlan(Call[None]):
    """Another process has published: this plan or a later one is in the store."""

    internal = True

    def __init__(self, version: int) -> None:
        super().__init__()
        self._version = version

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        assert isinstance(chunk.desk, FarDesk)
        chunk.desk.catch_up(self._version)


class Announce(Call[None]):
    """Tell the log the plan in force, which it should know."""

    internal = True

    def __init__(self, row: PlanRow) -> None:
        super().__init__()
        self._row = row

    def decide(self, chunk: Chunk) -> None:
        self.result = None
        chunk.commit.relay.append(relayed_plan(self._row))
