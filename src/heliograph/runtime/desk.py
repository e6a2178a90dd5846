"""The desk: everything the processor has at hand while it decides, in front of the store.

One task writes here, one chunk at a time; nothing awaits in between.  After a commit that failed, :meth:`Desk.reload`
forgets all of it and reads the store again, because nothing of that commit has happened.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from heliograph import decide
from heliograph.events.record import LedgerRow
from heliograph.ports import BroadcastRow, MessageRow, RequestRow, SchemaCheck, Store
from heliograph.runtime.holds import Holds
from heliograph.runtime.recent import Recent
from heliograph.runtime.tally import Tally

STATES = 20_000
"""Decoded states kept: a busy person's is some kilobytes in memory, so about 100 MB at most."""
MESSAGES = 20_000
ADDRESSES = 20_000
REQUESTS = 2_000
"""Webhooks that were asked for or answered lately."""
BROADCASTS = 200

CompileSchema = Callable[[dict[str, Any]], SchemaCheck]


class Published:
    """A plan in force, with the checks that its schemas became."""

    __slots__ = ("checks", "plan")

    def __init__(self, plan: decide.Plan, compile_schema: CompileSchema) -> None:
        self.plan = plan
        schemas = plan.document.get("schemas", {})
        self.checks: dict[str, SchemaCheck] = {name: compile_schema(schema) for name, schema in schemas.items()}

    def with_plan(self, plan: decide.Plan) -> "Published":
        """The same checks, where only the broadcasts of the plan are others."""
        other = object.__new__(Published)
        other.plan, other.checks = plan, self.checks
        return other


class Desk:
    """States, ledger, messages, holders of addresses, tallies, the last position and the last instant."""

    def __init__(self, store: Store, compile_schema: CompileSchema) -> None:
        self.store = store
        self.compile_schema = compile_schema
        self.states: Recent[str, decide.State] = Recent(STATES)
        self.messages: Recent[str, MessageRow] = Recent(MESSAGES)
        self._requests: Recent[str, RequestRow | Literal[False]] = Recent(REQUESTS)
        """False: it is over."""
        self._broadcasts: Recent[str, BroadcastRow] = Recent(BROADCASTS)
        self._words: Recent[str, dict[str, LedgerRow]] = Recent(ADDRESSES)
        self._holders: Recent[str, frozenset[str]] = Recent(ADDRESSES)
        self.published: Published
        """The plan in force; unset as long as none was ever published."""
        self.plan: decide.Plan
        self.reload()

    # -- life of a chunk --

    @property
    def _recents(self) -> tuple[Recent[Any, Any], ...]:
        return (self.states, self.messages, self._requests, self._broadcasts, self._words, self._holders)

    def seal(self) -> None:
        for recent in self._recents:
            recent.seal()

    def settle(self) -> None:
        for recent in self._recents:
            recent.settle()

    def reload(self) -> None:
        """Forget, and begin where the store is."""
        for recent in self._recents:
            recent.clear()
        self.position = self.store.last_position()
        self.last_at = self.store.last_received_at()
        self.tally = Tally.load(self.store)
        self.holds = Holds.load(self.store)
        self._reload_plan()

    @property
    def planned(self) -> bool:
        """Whether any plan was ever published."""
        return hasattr(self, "plan")

    def _reload_plan(self) -> None:
        row = self.store.plan()
        if row is not None and not (self.planned and self.is_in_force(row.version, row.document)):
            plan = decide.compile_plan(msgspec.json.decode(row.document), row.version)
            self.use(Published(plan, self.compile_schema))

    def is_in_force(self, version: int, document: bytes) -> bool:
        """Also of one version there may have been two, of which one was refused."""
        plan = self.plan
        return plan.version == version and msgspec.json.encode(plan.document, order="deterministic") == document

    def use(self, published: Published) -> None:
        """This plan is in force from the next record on."""
        self.published = published
        self.plan = published.plan

    def held(self, journey: str) -> bool:
        """Whether the mail of this journey is held."""
        return self.holds.held(journey)

    def may_mail(self, _key: str) -> bool:
        """Whether mail to this person is ours to send."""
        return True

    # -- states --

    def state(self, key: str) -> decide.State | None:
        state = self.states.get(key)
        if state is None:
            (blob,) = self.store.states((key,))
            if blob is not None:
                state = self.states.keep(key, decide.decode_state(blob))
        return state

    def fetch(self, keys: Iterable[str]) -> None:
        """Read states in one go that will be needed one by one."""
        missing = [key for key in dict.fromkeys(keys) if self.states.get(key) is None]
        if len(missing) > 1:
            for key, blob in zip(missing, self.store.states(missing), strict=True):
                if blob is not None:
                    self.states.keep(key, decide.decode_state(blob))

    # -- messages --

    def present(self, message_id: str) -> MessageRow | None:
        """The row as it is now, for who only looks."""
        return self.message(message_id)

    def message(self, message_id: str) -> MessageRow | None:
        """The row as it is now, for who decides on it."""
        row = self.messages.get(message_id)
        if row is None and (row := self.store.message(message_id)) is not None:
            self.messages.keep(message_id, row)
        return row

    def stale(self, _message_id: str) -> dict[str, float]:
        """What of the mail was not the newest when it was rendered: name -> seconds since it was."""
        return {}

    def messages_of(self, keys: Sequence[str], limit: int = 200) -> list[MessageRow]:
        """Latest messages of these keys, as they are now."""
        found = {row.message_id: row for key in keys for row in self.store.messages(key=key, limit=limit)[0]}
        found.update((row.message_id, row) for row in self.messages.unsettled() if row.key in keys)
        return [self.messages.get(message_id) or row for message_id, row in found.items()]

    # -- requests --

    def request(self, request_id: str) -> RequestRow | None:
        """The row while it waits for its answer."""
        row = self._requests.get(request_id)
        return self.store.request(request_id) if row is None else row or None

    def write_request(self, request_id: str, row: RequestRow | None) -> None:
        """The row, or None when it is over."""
        self._requests.write(request_id, row or False)

    def awaits(self, request_id: str) -> bool:
        """The request has no answer, and all of that is on disk."""
        return self._requests.settled(request_id) and self.request(request_id) is not None

    # -- broadcasts --

    def broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        """The row as it is now, with all its counts.  Not to be changed in place."""
        return self.plain_broadcast(broadcast_id)

    def plain_broadcast(self, broadcast_id: str) -> BroadcastRow | None:
        """The same for who does not look at counts, which may have to be summed."""
        row = self._broadcasts.get(broadcast_id)
        if row is None and (row := self.store.broadcast(broadcast_id)) is not None:
            self._broadcasts.keep(broadcast_id, row)
        return row

    def counting(self, broadcast_id: str) -> BroadcastRow | None:
        """The row for this chunk to change in place; what earlier chunks wrote stays what it was."""
        row = self._broadcasts.open.get(broadcast_id)
        if row is None and (known := self.broadcast(broadcast_id)) is not None:
            row = replace(
                known,
                again=list(known.again),
                people=dict(known.people),
                refused=dict(known.refused),
                messages=dict(known.messages),
                skipped=dict(known.skipped),
            )
            self._broadcasts.write(broadcast_id, row)
        return row

    def walking(self, broadcast_id: str) -> BroadcastRow | None:
        """The same, for who walks its audience."""
        return self.counting(broadcast_id)

    def write_broadcast(self, row: BroadcastRow) -> None:
        """A new one."""
        self._broadcasts.write(row.broadcast_id, row)

    @property
    def changed_broadcasts(self) -> dict[str, BroadcastRow]:
        """What the open chunk changed."""
        return self._broadcasts.open

    # -- ledger --

    def words(self, address: str) -> dict[str, LedgerRow]:
        """Topic -> row of a normalised address.  Not to be changed in place."""
        words = self._words.get(address)
        if words is None:
            words = self._words.keep(address, {row.topic: row for row in self.store.ledger(address)})
        return words

    def write_word(self, row: LedgerRow) -> None:
        self._words.write(row.address, {**self.words(row.address), row.topic: row})

    def holders(self, address: str) -> frozenset[str]:
        """Keys that hold the address."""
        holders = self._holders.get(address)
        if holders is None:
            holders = self._holders.keep(address, frozenset(self.store.keys_of_email(address)))
        return holders

    def write_holder(self, address: str, key: str, on: bool) -> None:
        holders = self.holders(address)
        self._holders.write(address, holders | {key} if on else holders - {key})
