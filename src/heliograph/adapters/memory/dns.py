"""The memory twin of a :class:`~heliograph.ports.MailDns`: answers from a table."""

from collections.abc import Mapping, Sequence, Set

from heliograph.events.domains import a_label
from heliograph.ports import MxAnswer, Records
from heliograph.ports.mail import NO_DOMAIN, NO_RECORD, NULL_MX, UNSURE

Table = Mapping[str, Sequence[str]]


class MemoryDns:
    """``mx``: domain -> ``10 mx.example`` (``0 .`` for none at all); ``addresses``: host -> addresses; ``texts``: name
    -> texts; names in lower case.  ``silent``: names about which there is no answer."""

    def __init__(
        self,
        mx: Table | None = None,
        addresses: Table | None = None,
        texts: Table | None = None,
        silent: Set[str] = frozenset(),
    ) -> None:
        self._mx, self._addresses, self._texts = mx or {}, addresses or {}, texts or {}
        self._silent = silent

    async def mx(self, domain: str) -> MxAnswer:
        found, fault = self._look_up(self._mx, domain)
        if fault == NO_RECORD:
            return MxAnswer(((0, _name(domain)),), implicit=True)
        pairs = sorted((int(preference), host.rstrip(".").lower()) for preference, host in map(str.split, found))
        hosts = tuple((preference, host) for preference, host in pairs if host)
        return MxAnswer(hosts, NULL_MX if found and not hosts else fault)

    async def addresses(self, host: str) -> Records:
        found, fault = self._look_up(self._addresses, host)
        return Records(tuple(sorted(found, key=lambda address: ":" not in address)), fault)

    async def texts(self, name: str) -> Records:
        return Records(*self._look_up(self._texts, name))

    async def close(self) -> None: ...

    def _look_up(self, table: Table, text: str) -> tuple[tuple[str, ...], str]:
        name = _name(text)
        if name in self._silent:
            return (), UNSURE
        if name in table:
            return tuple(table[name]), ""
        known = name and any(name in one for one in (self._mx, self._addresses, self._texts))
        return (), NO_RECORD if known else NO_DOMAIN


def _name(text: str) -> str:
    """Empty when there can be no such name."""
    try:
        return a_label(text.strip().rstrip("."))
    except UnicodeError:
        return ""
