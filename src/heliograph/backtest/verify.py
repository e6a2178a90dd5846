"""The law behind every backtest, held against what was recorded: the log, decided again record by record, gives the
very decisions that were made live: each fact at its instant, with its reasons, and each message with its id.

Here nothing is made up: every record of the log is fed as it stands, hops, wake-ups and outcomes included, each under
the plan that was in force.  Somebody who was there before the log begins cannot be judged and is only counted.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from heliograph import decide
from heliograph.adapters.rocksdb import Logged, RocksView
from heliograph.decide import effects as fx
from heliograph.decide.broadcasts import broadcast_of
from heliograph.events.identity import profile_id
from heliograph.events.record import Record
from heliograph.ports import MessageRow

LISTED: Final = 50
BY_RUNTIME: Final = frozenset({"cancel_too_late"})
"""Facts that the runtime says, of what it sees at the commit point."""

Said = tuple[int, str, dict[str, Any]]


class Parted(msgspec.Struct, frozen=True, order=True):
    """Where a recorded decision and the same one made again are not the same; "" for none."""

    at: int
    profile_id: str
    recorded: str
    again: str


class Verified(msgspec.Struct):
    """``people``: keys judged; ``earlier``: keys that were there before the log.  ``facts``, ``messages``: compared.
    ``parted``: how many keys differ; ``listed``: the first difference of some of them."""

    people: int = 0
    earlier: int = 0
    facts: int = 0
    messages: int = 0
    parted: int = 0
    listed: list[Parted] = []


class Verifier:
    def __init__(self, view: RocksView, log_from: int) -> None:
        self._view, self._log_from = view, log_from
        self._plans: dict[int, decide.Plan] = {}
        self.found = Verified()

    def run(self, buckets: range) -> Verified:
        """Judge everybody in these buckets."""
        log: dict[str, list[Logged]] = defaultdict(list)
        for row in self._view.logged():
            if row.head.bucket in buckets:
                log[row.head.key].append(row)
        for key in sorted(log):
            if self._is_earlier(key):
                self.found.earlier += 1
            else:
                self._judge(key, log.pop(key))
        self.found.listed = sorted(self.found.listed)[:LISTED]
        return self.found

    def _is_earlier(self, key: str) -> bool:
        if not self._log_from:
            return False
        (blob,) = self._view.states((key,))
        return blob is None or decide.decode_state(blob).created_at < self._log_from

    def _judge(self, key: str, log: list[Logged]) -> None:
        facts: list[Said] = []
        messages: list[fx.DecideMessage] = []
        state = decide.new_state(key)
        for record in self._records(key, log):
            state, effects = decide.step(state, record, self._plan(record.plan_version))
            for effect in effects:
                if isinstance(effect, fx.Fact):
                    facts.append((effect.at, effect.kind, effect.data))
                elif isinstance(effect, fx.DecideMessage):
                    messages.append(effect)
        facts.sort(key=lambda fact: fact[0])
        recorded = [(row.at, row.kind, row.data) for row in self._view.facts(key) if row.kind not in BY_RUNTIME]
        self.found.people += 1
        self.found.facts += len(recorded)
        self.found.messages += len({message.message_id for message in messages})
        for parted in (*_facts_part(key, recorded, facts), *self._messages_part(key, messages)):
            self.found.parted += 1
            self.found.listed.append(parted)
            break

    def _records(self, key: str, log: list[Logged]) -> Iterator[Record]:
        kept = {row[1:3]: row for row in self._view.kept_of(key)}
        for row in log:
            record, place = row.record()
            if place is not None:
                event = kept[place.occurred_at, place.event_id].event()
                record = replace(record, body=replace(record.body, event=event))
            yield record

    def _plan(self, version: int) -> decide.Plan:
        if version not in self._plans:
            row = self._view.plan(version)
            assert row is not None
            self._plans[version] = decide.compile_plan(msgspec.json.decode(row.document), version)
        return self._plans[version]

    def _messages_part(self, key: str, messages: list[fx.DecideMessage]) -> Iterator[Parted]:
        """A message that was put off may be decided again: its row tells of the latest decision."""
        for message_id, effect in {one.message_id: one for one in messages}.items():
            row, why = self._view.message(message_id), effect.status == "skipped"
            if row is not None and row.key != key and broadcast_of(row.journey):
                continue  # a broadcast to an address that somebody else holds, too: the row is theirs
            again = _told(effect, why=why)
            recorded = None if row is None else _told(row, why=why)
            if recorded != again:
                yield Parted(effect.created_at, profile_id(key), str(recorded or ""), str(again))


def _told(one: MessageRow | fx.DecideMessage, *, why: bool) -> tuple[Any, ...]:
    """What is decided of a message, and not what became of it.  ``why``: it was decided not to mail it."""
    return (one.message_id, one.run_id, one.journey, one.journey_version, one.step_id, one.template, one.topic,
            one.address, one.created_at, *((one.reason,) if why else ()))  # fmt: skip


def _facts_part(key: str, recorded: list[Said], again: list[Said]) -> Iterator[Parted]:
    """The journal is stored: what JSON has no word for (a tuple) comes back as its like."""
    like = [msgspec.msgpack.decode(msgspec.msgpack.encode(fact)) for fact in again]
    stored: list[list[Any]] = [list(fact) for fact in recorded]
    for one, other in zip_longest(stored, like):
        if one != other:
            at: int = (one or other or [0])[0]
            yield Parted(at, profile_id(key), _shown(one), _shown(other))


def _shown(fact: list[Any] | None) -> str:
    return "" if fact is None else f"{fact[1]} at {fact[0]}: {fact[2]}"
