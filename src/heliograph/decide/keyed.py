"""One key's brain, for runtimes that keep one blob and one timer a key and may decide a record twice (Flink).

    take(held, record bytes, plans) -> Said

Around :func:`~heliograph.decide.step.step` stands a shell, in the same versioned blob as the state:

- *Repeats.*  A derived record (a hop, an outcome, a word of the ledger: anything that did not come from outside) may
  stand in the log twice, because who appended it died and appended it again.  Its id is remembered, and the second one
  is passed over without a word.  Events from outside are recognised by ``step`` itself.  Wake-ups are never passed
  over: a wake-up to which nothing is due changes nothing, and one that is swallowed would leave a timer unfired.
- *Plans.*  A record is decided under the plan that it names, or the newer one that its person has met: never under
  whatever plan happens to have arrived.  Until that plan is there, the record and those behind it wait in the blob.
- *Bugs.*  A record that ``step`` raises on changes nothing and is said to be ``undecidable``: one person's record must
  not stop everybody's.
- *Numbers.*  Each decision of a key has the key's own number (:func:`~heliograph.decide.decided.next_number`): who
  hears one twice passes it over.

So what is said depends on the key's records in log order and on nothing else, and saying it again after a restore
says the same.  No clock: a timer decides nothing, it appends :func:`wake` to the log.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from heliograph.decide.decided import Decided, encode_decided, next_number
from heliograph.decide.effects import Effect, Fact, Hop
from heliograph.decide.plan import Plan
from heliograph.decide.state import State, StateTooNew, deadline, decode_state, encode_state, is_blank, new_state
from heliograph.decide.step import step
from heliograph.events.identity import profile_id
from heliograph.events.ids import bucket, make_id
from heliograph.events.partitions import partition_key
from heliograph.events.record import Body, EventBody, Record, Wake, decode_record, encode_record

SHELL_VERSION: Final = 1

MAX_HEARD: Final = 512
"""Remembered ids of derived records: two generations of so many hashes of 64 bits, 8 KB at most.  A repeat follows its
original within a checkpoint and a restart; nobody has 512 outcomes and hops in these minutes."""
MAX_WAITING: Final = 4_096
MAX_WAITING_BYTES: Final = 4 << 20
"""Of one key, while their plan has not arrived.  Beyond, the runtime stops and goes back to its last checkpoint: the
log keeps them."""

Plans = Callable[[int], Plan | None]
"""The plan of this version (0: the newest), None when it is not known yet."""


class PlanMissing(Exception):
    """Too much waits for a plan.  Stop; publish it (or mend the topic ``plan``) and start again: nothing is lost."""


class Held(msgspec.Struct):
    """One key between two records.  ``blob``: ``state`` as encoded last.  ``heard``, ``heard_before``: hashes of ids of
    derived records.  ``waiting``: records whose plan is not known yet, in order.  ``alarm``: the wake-up that the
    runtime has set (ms), 0 for none; only the runtime writes it."""

    state: State
    blob: bytes = b""
    number: int = 0
    heard: bytes = b""
    heard_before: bytes = b""
    waiting: list[bytes] = []
    alarm: int = 0


class Said(msgspec.Struct):
    """What to append, in this order.  ``hops``: topic key and bytes of each record for ``records``; ``decided``: bytes
    for ``effects``, one for each record that was decided; ``facts`` and ``outcomes``: a JSON object each."""

    hops: list[tuple[bytes, bytes]]
    decided: list[bytes]
    facts: list[bytes]
    outcomes: list[bytes]


class _Shell(msgspec.Struct, array_like=True, gc=False):
    """The blob, behind its version byte.  Fields are only ever appended."""

    state: bytes = b""
    number: int = 0
    heard: bytes = b""
    heard_before: bytes = b""
    waiting: list[bytes] = []
    alarm: int = 0


_PREFIX: Final = bytes((SHELL_VERSION,))
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Shell)
_json = msgspec.json.Encoder().encode


def load(key: str, blob: bytes | None) -> Held:
    """The inverse of :func:`dump`; :class:`~heliograph.decide.state.StateTooNew` for one of a later version."""
    if not blob:
        return Held(new_state(key))
    if blob[:1] != _PREFIX:
        raise StateTooNew(f"a shell of version {blob[0]}; this program knows versions up to {SHELL_VERSION}")
    shell = _DECODER.decode(memoryview(blob)[1:])
    state = decode_state(shell.state) if shell.state else new_state(key)
    return Held(state, shell.state, shell.number, shell.heard, shell.heard_before, shell.waiting, shell.alarm)


def dump(held: Held) -> bytes | None:
    """The key's blob; None when nothing of it need be kept."""
    if not held.blob and not held.waiting and not held.heard and not held.number:
        return None
    shell = _Shell(held.blob, held.number, held.heard, held.heard_before, held.waiting, held.alarm)
    return _PREFIX + _ENCODER.encode(shell)


def take(held: Held, data: bytes | None, plans: Plans) -> Said:
    """Decide the record ``data`` behind whatever waits; None: only what waits.  Changes ``held``.

    Raises :class:`PlanMissing`, and :class:`~heliograph.events.record.RecordError` for what is no record."""
    said = Said([], [], [], [])
    if data is not None:
        held.waiting.append(data)
    while held.waiting:
        following = held.waiting[0]
        record = decode_record(following)
        plan = plans(max(record.plan_version, held.state.plan_version))
        if plan is None:
            _judge_waiting(held, record)
            break
        del held.waiting[0]
        if not _heard_before(held, record):
            _decide(held, record, following, plan, said)
    return said


def due(held: Held) -> int | None:
    """The key's earliest timer (ms), None for none."""
    return deadline(held.state)


def wake(held: Held, version: int) -> tuple[bytes, bytes]:
    """Topic key and bytes of the record that fires the earliest timer, at its own instant, under plan ``version``."""
    state = held.state
    name = make_id("wake", state.key, state.next_due, state.last_t)
    return _posted(Record(state.key, name, state.next_due, version, Wake()))


# -- one record --


def _decide(held: Held, record: Record, data: bytes, plan: Plan, said: Said) -> None:
    state, effects = _stepped(held, record, plan)
    held.number = state.number = next_number(held.number, record.received_at)
    held.blob = b"" if is_blank(state) else encode_state(state)
    held.state = state if held.blob else new_state(record.key)
    told = [effect for effect in effects if type(effect) is not Hop]
    said.hops.extend(_posted(effect.record) for effect in effects if type(effect) is Hop)
    decided = Decided(record, told, held.blob or None, deadline(held.state), held.number)  # type: ignore[arg-type]
    said.decided.append(encode_decided(decided, data))
    for number, fact in enumerate(told):
        if type(fact) is Fact:
            _tell(said, record, number, fact)


def _stepped(held: Held, record: Record, plan: Plan) -> tuple[State, list[Effect]]:
    """``step``; where it raises (a bug), nothing changes but a fact that says so: everybody else's records stand in
    the same log, and would wait for ever."""
    try:
        return step(held.state, record, plan)
    except StateTooNew:
        raise
    except Exception as error:
        state = decode_state(held.blob) if held.blob else new_state(record.key)
        data = {"record": record.id, "body": type(record.body).__name__, "error": type(error).__name__}
        return state, [Fact("undecidable", record.received_at, data)]


def _posted(record: Record) -> tuple[bytes, bytes]:
    return partition_key(bucket(record.key)), encode_record(record)


def _tell(said: Said, record: Record, number: int, fact: Fact) -> None:
    """For other systems: docs/reference/facts-topic.md, topics.md."""
    name, person = make_id("fact", record.key, record.id, number), profile_id(record.key)
    line = {"id": name, "at": fact.at, "kind": fact.kind, "profile_id": person, "data": fact.data}
    said.facts.append(_json(line))
    if (kind := _OUTCOMES.get(fact.kind)) is not None and "message_id" in fact.data:
        outcome = {"id": name, "at": fact.at, "kind": kind, "profile_id": person}
        said.outcomes.append(_json({**outcome, **_NO_OUTCOME, **fact.data}))


_OUTCOMES: Final = {"message_outcome": "", "message_skipped": "skipped"}
"""Facts that say what became of a message; what that is when the fact does not name it."""
_NO_OUTCOME: Final = {"journey": "", "run_id": "", "step_id": "", "template": "", "reason": "", "machine": False}


# -- repeats --


def _from_outside(body: Body) -> bool:
    return type(body) is EventBody and not body.hops and not body.depth


def _heard_before(held: Held, record: Record) -> bool:
    """Whether this derived record was here before; remembers it."""
    if _from_outside(record.body) or type(record.body) is Wake:
        return False
    mark = blake2b(record.id.encode(), digest_size=8).digest()
    if _holds(held.heard, mark) or _holds(held.heard_before, mark):
        return True
    if len(held.heard) >= MAX_HEARD * 8:
        held.heard_before, held.heard = held.heard, b""
    held.heard += mark
    return False


def _holds(marks: bytes, mark: bytes) -> bool:
    at = marks.find(mark)
    while at >= 0 and at % 8:  # a chance match across two marks
        at = marks.find(mark, at + 1)
    return at >= 0


def _judge_waiting(held: Held, record: Record) -> None:
    if len(held.waiting) > MAX_WAITING or sum(map(len, held.waiting)) > MAX_WAITING_BYTES:
        raise PlanMissing(
            f"{len(held.waiting):,} records of {record.key} wait for plan {record.plan_version}, which never came by "
            "the topic `plan`: publish it again (heliograph apply), then start the job from its last checkpoint"
        )
