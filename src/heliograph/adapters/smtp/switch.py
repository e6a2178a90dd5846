"""Several transports behind one courier: each asks for its own commit points, and each answer finds its way back."""

from collections.abc import Callable, Iterator, Sequence

from heliograph.ports import Courier, Parcel, Transport, Verdict

Report = Callable[[Parcel, Verdict], None]


class Ask:
    """An open one: who asked, and for what."""

    __slots__ = ("asker", "go", "ids", "stop")

    def __init__(self, asker: Transport, ids: Sequence[str]) -> None:
        self.asker = asker
        self.ids = ids
        self.go: list[str] = []
        self.stop: list[str] = []


class Switch:
    """Remembers who asked for what."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._open: dict[str, Ask] = {}

    def ask(self, asker: Transport, ids: Sequence[str]) -> None:
        ask = Ask(asker, ids)
        for message_id in ids:
            self._open[message_id] = ask
        self._courier.ask(ids)

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None:
        """Hand the answer to whoever asked; an empty one to all."""
        for ask in list(self._answered(go, stop)):
            for message_id in ask.ids:
                self._open.pop(message_id, None)
            ask.asker.decided(ask.go, ask.stop)

    def _answered(self, go: Sequence[str], stop: Sequence[str]) -> Iterator[Ask]:
        asks: dict[int, Ask] = {}
        for message_id in go:
            if ask := self._open.get(message_id):
                asks[id(ask)] = ask
                ask.go.append(message_id)
        for message_id in stop:
            if ask := self._open.get(message_id):
                asks[id(ask)] = ask
                ask.stop.append(message_id)
        if not go and not stop:
            asks = {id(ask): ask for ask in self._open.values()}
        return iter(asks.values())


class Desk:
    """The courier of one of the transports.  ``asked``, ``report``: hear of it first."""

    def __init__(
        self, switch: Switch, report: Report, asked: Callable[[Sequence[str]], None] = lambda ids: None
    ) -> None:
        self._switch, self._report, self._asked = switch, report, asked
        self.transport: Transport | None = None

    def ask(self, message_ids: Sequence[str]) -> None:
        assert self.transport is not None, "nothing is asked before it is posted"
        self._asked(message_ids)
        self._switch.ask(self.transport, message_ids)

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        self._report(parcel, verdict)
