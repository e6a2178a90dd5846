"""Everything the brain remembers of one key, in one bounded blob.

Encoding: ``u8 version | msgpack array``.  Fields are only ever appended; a change that is not an appended field gets
a new :data:`STATE_VERSION`, an up-converter in :data:`CONVERTERS` and a golden blob in ``tests/golden``.  Events and
parked records are kept encoded, so that reading a state never costs more than what this step looks at.

Who writes what: ``people`` the identity and the traits, ``consent`` the words on topics, ``members`` condition states
and memberships, ``runs`` the runs.  Only :func:`set_timer` and :func:`clear_timer` touch the timers.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from heliograph.events.event import Event

STATE_VERSION: Final = 1

MAX_RUNS: Final = 256
"""Active runs; a further entry is refused ``state_full`` (design, section 6)."""
MAX_RUN_BYTES: Final = 128 * 1024
"""Encoded entry and trigger events of the active runs together; beyond it an entry is refused ``state_full``.  The
whole has its bound in :mod:`heliograph.decide.bounds`."""
MAX_ENDED: Final = 64
"""Ended runs kept for goals, late outcomes and ``why``: the oldest goes."""
MAX_ENTRY_KEYS: Final = 1000
"""Remembered entry keys a journey (for ``reentry``): the one entered longest ago goes."""
MAX_LINKS: Final = 64
"""Ids of one person."""
MAX_PARKED: Final = 256
MAX_PARKED_BYTES: Final = 128 * 1024
"""Records that wait for a link; over either bound all are decided without waiting."""
MAX_TRAIT_BYTES: Final = 64 * 1024
"""Encoded traits; a trait that would pass it is not taken."""
MAX_CLOCK_BYTES: Final = 32 * 1024
"""Names of traits with their last writers, removed ones included."""
MAX_TOPICS: Final = 64
MAX_PROOF: Final = 64
"""Bytes of a word's source, text version and proof each; the ledger has them in full."""
MAX_LISTS: Final = 256
"""Static lists that say something about one person."""
MAX_LAST: Final = 5
MAX_LAST_BYTES: Final = 48 * 1024
"""Remembered events: so many of each name that a journey or template uses, so many bytes in all."""
SEEN_GENERATION: Final = 2048
SEEN_MS: Final = 3 * 86_400_000
"""Dedupe: two generations of 2,048 hashes of 64 bits; a generation is also closed after P3D."""
ORPHAN_MS: Final = 7 * 86_400_000
"""How long condition states that no plan uses any more are kept, for a publish that is taken back."""


class StateTooNew(Exception):
    """Written by a newer version of Heliograph.  Stop the process."""


class Word(msgspec.Struct, frozen=True, array_like=True):
    """What a person said about a topic: :class:`heliograph.events.record.LedgerRow` without its address."""

    given: bool
    at: int
    source: str = ""
    text_version: str = ""
    proof: str = ""

    def beats(self, other: "Word | None") -> bool:
        """The later word wins, a withdrawal wins ties; a word never beats its equal."""
        return other is None or (self.at, not self.given) > (other.at, not other.given)


class Run(msgspec.Struct, array_like=True):
    """One passage through a journey, active.  ``version`` is the journey's: a run keeps the one it started in.

    ``started_at`` is when the cause occurred, ``entered_at`` and ``since`` (the beginning of ``step``) are engine
    time.  ``event`` and ``trigger`` are encoded events, empty when there is none.  ``messages``: step id -> id.
    ``sending``: parked on the first outcome of ``message_id``.  ``visits``: step id -> how often, from the second on.
    ``arms``: split -> arm.  ``data``: name -> what a webhook answered.  ``awaits``: the id of the hop or request that
    the run is parked on.  ``decided_at``: when the open message was first decided; ``planned_at``: when it is to be
    decided again, 0 when it is not held back; ``ready_at``: before that a mailer would not try it again.
    """

    run_id: str
    journey: str
    version: str
    entry_key: str
    cause: str
    started_at: int
    entered_at: int
    since: int
    step: str = ""
    held_out: bool = False
    sending: bool = False
    message_id: str = ""
    messages: dict[str, str] = {}
    event: bytes = b""
    trigger: bytes = b""
    converted: bool = False
    visits: dict[str, int] = {}
    arms: dict[str, str] = {}
    data: dict[str, Any] = {}
    awaits: str = ""
    decided_at: int = 0
    planned_at: int = 0
    ready_at: int = 0


class Slot(msgspec.Struct, array_like=True):
    """A place under the caps that a message holds: at its planned instant, and once ``sent`` at the instant of that."""

    at: int
    message_id: str
    topic: str
    sent: bool = False


class Ended(msgspec.Struct, array_like=True):
    """What stays of a run: for its goal, for outcomes that come later, and for ``why``.  ``by`` is JSON-able."""

    run_id: str
    journey: str
    version: str
    entry_key: str
    started_at: int
    entered_at: int
    ended_at: int
    reason: str
    step: str
    held_out: bool
    converted: bool
    cause: str = ""
    messages: dict[str, str] = {}
    by: dict[str, Any] = {}
    visits: dict[str, int] = {}


class Refused(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry whose ``if`` was false: when, and the place of the failing leaf among those of the condition.

    Not tracked by the garbage collector, and so neither is a dict of them: nearly everybody has one.
    """

    at: int
    place: int


class State(msgspec.Struct, array_like=True):
    """One key.  A key with ``forward`` is a stub: it was merged and hands on what still arrives.

    ``plan_version`` 0: nothing was ever decided here.  ``links``: keys whose history is here; ``pending``: keys asked
    for theirs, while ``parked`` (encoded records) wait.  ``clocks``: trait -> (occurred_at, event hash) of its last
    writer, also of a removed one.  ``zone``: the latest ``context.timezone`` with its clock.  ``consent`` is the view
    of the ledger for ``address``; ``waiting`` are words given before there was one.  ``orphans``: condition id ->
    since when no plan uses it.  ``members``: segment or list -> since; ``lists``: list -> (changed at, on it).
    ``entered``: journey -> entry key -> last entry.  ``last``: event name -> encoded events with their order, oldest
    first.  ``timers``: id -> due; ``next_due`` is the earliest, 0 without one.  ``last_seen``: when the latest event
    occurred; ``heard_at``: the engine time of the last event, outcome or list change.
    ``size``: about what this weighs (:mod:`heliograph.decide.bounds`).  ``refused``: journey -> its latest entry, while
    that is one whose ``if`` was false.  ``origin``: the key under which this person was first seen, empty for this one:
    what arms, holdouts and run ids are drawn from, so that they outlive a merge.  ``slots``: messages that count under
    caps.  ``swept``: the plan of the last sweep that came by (or the first plan that decided here).  ``compare_at``:
    when the messages that arbitration holds are compared; in the past, the next one opens a new window.  ``kept``: at
    least the bytes of the events in ``last``; -1 when nobody has counted.  ``number``: of the last decision, where the
    brain is far from those who carry it out (:func:`heliograph.decide.decided.next_number`); else 0.
    """

    key: str
    created_at: int = 0
    last_t: int = 0
    plan_version: int = 0
    forward: str = ""
    links: list[str] = []
    pending: list[str] = []
    parked: list[bytes] = []
    seen: bytes = b""
    seen_before: bytes = b""
    seen_since: int = 0
    traits: dict[str, Any] = {}
    clocks: dict[str, tuple[int, int]] = {}
    address: str = ""
    zone: tuple[str, int, int] = ("", 0, 0)
    consent: dict[str, Word] = {}
    waiting: dict[str, Word] = {}
    conditions: dict[str, Any] = {}
    orphans: dict[str, int] = {}
    members: dict[str, int] = {}
    lists: dict[str, tuple[int, bool]] = {}
    runs: dict[str, Run] = {}
    ended: list[Ended] = []
    entered: dict[str, dict[str, int]] = {}
    last: dict[str, list[tuple[int, str, bytes]]] = {}
    timers: dict[str, int] = {}
    next_due: int = 0
    last_seen: int = 0
    heard_at: int = 0
    size: int = 0
    refused: dict[str, Refused] = {}
    origin: str = ""
    slots: list[Slot] = []
    swept: int = 0
    compare_at: int = 0
    kept: int = -1
    number: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(State)
_EVENTS = msgspec.msgpack.Decoder(Event)
_PREFIX = bytes([STATE_VERSION])

CONVERTERS: dict[int, Callable[[bytes], State]] = {STATE_VERSION: _DECODER.decode}
"""How the payload of each released version becomes today's state."""


def new_state(key: str) -> State:
    """A key of which nothing is known."""
    return State(key)


def origin_of(state: State) -> str:
    """The key under which this person was first seen."""
    return state.origin or state.key


def is_blank(state: State) -> bool:
    """Whether nothing is known of the key: a blob of it need not be kept."""
    return not state.created_at and not state.last_t


def encode_state(state: State) -> bytes:
    return _PREFIX + _ENCODER.encode(state)


def encode_unnumbered(state: State) -> bytes:
    """The blob as every runtime would have it: without the number, which some give and others do not.  What is decided
    may depend on these bytes, and on their length."""
    number, state.number = state.number, 0
    blob = encode_state(state)
    state.number = number
    return blob


def decode_state(blob: bytes) -> State:
    """The inverse of :func:`encode_state`; :class:`StateTooNew` for a version that this code does not know, and
    ``msgspec.DecodeError`` for damaged bytes."""
    if blob[:1] == _PREFIX:
        return _DECODER.decode(memoryview(blob)[1:])
    version = blob[0] if blob else 0
    convert = CONVERTERS.get(version)
    if convert is None:
        raise StateTooNew(f"a state of version {version}; this program knows versions up to {STATE_VERSION}")
    return convert(blob[1:])


# -- events inside the state --


def pack(event: Event | None) -> bytes:
    return _ENCODER.encode(event) if event is not None else b""


def unpack(data: bytes) -> Event | None:
    return _EVENTS.decode(data) if data else None


def room_for_event(state: State, data: bytes) -> bool:
    """Whether the active runs may hold another encoded event."""
    held = sum(len(run.event) + len(run.trigger) for run in state.runs.values())
    return held + len(data) <= MAX_RUN_BYTES


def clip(text: str, most: int = MAX_PROOF) -> str:
    """The beginning of ``text``, at most so many bytes."""
    return text if len(text) * 4 <= most else text.encode()[:most].decode(errors="ignore")


def size_of(value: Any) -> int:
    """Bytes of ``value`` in a blob."""
    return len(_ENCODER.encode(value))


# -- timers --


def set_timer(state: State, timer: str, due: int | None) -> None:
    """Move ``timer`` to ``due``; None clears it."""
    timers = state.timers
    old = timers.get(timer)
    if old == due:
        return
    if due is None:
        clear_timer(state, timer)
        return
    timers[timer] = due
    following = state.next_due
    if due < following or not following:
        state.next_due = due
    elif old == following:
        _refresh(state)


def clear_timer(state: State, timer: str) -> None:
    if state.timers.pop(timer, None) == state.next_due:
        _refresh(state)


def _refresh(state: State) -> None:
    state.next_due = min(state.timers.values(), default=0)


def due_timer(state: State, t: int) -> tuple[int, str] | None:
    """The first timer due at or before ``t``, in (due, timer id) order."""
    if not state.next_due or state.next_due > t:
        return None
    return min((due, timer) for timer, due in state.timers.items() if due == state.next_due)


def deadline(state: State) -> int | None:
    """When this key has to be woken (ms), or None.  A key that waits for a link wakes with the answer."""
    return None if state.pending or not state.next_due else state.next_due


# -- dedupe --


def seen_before(state: State, mark: bytes, t: int) -> bool:
    """Whether the 8 bytes ``mark`` were seen; remembers them."""
    if holds_mark(state, mark):
        return True
    remember_mark(state, mark, t)
    return False


def holds_mark(state: State, mark: bytes) -> bool:
    return _holds(state.seen, mark) or _holds(state.seen_before, mark)


def remember_mark(state: State, mark: bytes, t: int) -> None:
    if len(state.seen) >= SEEN_GENERATION * 8 or t - state.seen_since >= SEEN_MS:
        state.seen_before, state.seen, state.seen_since = state.seen, b"", t
    state.seen += mark


def _holds(marks: bytes, mark: bytes) -> bool:
    at = marks.find(mark)
    while at >= 0 and at % 8:  # a chance match across two marks
        at = marks.find(mark, at + 1)
    return at >= 0
