"""The keyed function as Flink calls it: one blob of a person in keyed state, one timer, plans by broadcast.

Rules that PyFlink asks for.  State is read and written before the first ``yield``: while an output is handed on, a full
sink may let a timer of another key in.  The blob is a pickled byte array (an empty PRIMITIVE_ARRAY state cannot be
read).  ``on_timer`` has no side outputs, so there is one stream of (topic, key, value) for all topics.
"""

import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
from pyflink.common import Row, Types
from pyflink.datastream import KeyedBroadcastProcessFunction
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor

import heliograph
from heliograph import __version__
from heliograph.decide import keyed
from heliograph.decide.plan import Plan, compile_plan
from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_key
from heliograph.events.record import record_head

RECORDS, EFFECTS, FACTS, OUTCOMES, PLAN = "records", "effects", "facts", "outcomes", "plan"

PLANS: Final = MapStateDescriptor("plans", Types.INT(), Types.PICKLED_BYTE_ARRAY())
"""Version -> canonical JSON of the plan; :data:`INDEX` -> msgpack of the versions, ascending.  (In thread mode PyFlink
2.3 cannot list the keys of a broadcast state.)"""
INDEX: Final = 0
PERSON: Final = ValueStateDescriptor("person", Types.PICKLED_BYTE_ARRAY())

MAX_PLANS: Final = 256
"""Versions that are kept: a record is decided under the plan it names, and the log goes back P7D.  A broadcast makes
two."""
MAX_COMPILED: Final = 8
"""Of these, kept compiled, the latest used."""
LOOK_AGAIN_MS: Final = 250
"""How often a key looks whether the plan that its records wait for has come."""
CATCHING_UP_MS: Final = 5_000
"""Behind by so much, a key is not woken at once: the records that follow in the log most likely move it on."""
FORGET_MS: Final = 86_400_000
"""A key of which nothing is left remembers for so long what it has heard."""


def _now() -> int:
    """Flink's own processing time (ms), without the way into Java."""
    return time.time_ns() // 1_000_000


def key_of(value: Any) -> str:
    """The person of an encoded record."""
    return record_head(bytes(value)).key


def _fingerprint() -> str:
    """Of all the code that decides, as it is when this module is loaded.  Modules stay loaded as long as a TaskManager
    lives, whatever becomes of their files."""
    found = blake2b(digest_size=8)
    for file in sorted(Path(heliograph.__file__).parent.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


CODE: Final = _fingerprint()


class Plans:
    """The versions that have arrived, compiled when they are first asked for."""

    def __init__(self) -> None:
        self._compiled: dict[int, Plan] = {}

    def find(self, version: int, documents: Callable[[], Any]) -> Plan | None:
        """``documents``: asks for the broadcast state, which is dear.  Version 0: the newest.  One that is no longer
        kept: the next newer."""
        return self._compiled.get(version) or self._look_for(version, documents())

    def _look_for(self, version: int, documents: Any) -> Plan | None:
        found = version if version and documents.contains(version) else _instead_of(version, documents)
        return None if found is None else self._compiled.get(found) or self._compile(found, documents.get(found))

    def _compile(self, version: int, document: bytes) -> Plan:
        if len(self._compiled) >= MAX_COMPILED:
            del self._compiled[next(iter(self._compiled))]
        plan = self._compiled[version] = compile_plan(msgspec.json.decode(document), version)
        return plan


def versions(documents: Any) -> list[int]:
    """Those that have arrived and are kept, ascending."""
    index = documents.get(INDEX)
    return [] if index is None else msgspec.msgpack.decode(index, type=list[int])


def newest(documents: Any) -> int:
    """The newest version that has arrived, 0 for none."""
    known = versions(documents)
    return known[-1] if known else 0


def _instead_of(version: int, documents: Any) -> int | None:
    """The topic has its plans in order: when a newer one is here, this one is no longer kept.  None: it is to come."""
    if not version:
        return newest(documents) or None
    return next((one for one in versions(documents) if one > version), None)


class Brain(KeyedBroadcastProcessFunction):  # type: ignore[misc]
    """``prefix``: of the topics; ``facts``: whether to write what is for other systems, too."""

    def __init__(self, prefix: str, facts: bool) -> None:
        self._code = CODE
        self._records, self._effects = f"{prefix}.{RECORDS}", f"{prefix}.{EFFECTS}"
        self._facts, self._outcomes = f"{prefix}.{FACTS}", f"{prefix}.{OUTCOMES}"
        self._tells = facts

    def open(self, runtime_context: Any) -> None:
        if self._code != CODE:
            raise RuntimeError(
                f"this TaskManager has loaded other code (Heliograph {__version__}, {CODE}) than the job was submitted "
                f"with ({self._code}): give it the same environment (make flink) and restart it"
            )
        self._person = runtime_context.get_state(PERSON)
        self._plans = Plans()

    def process_broadcast_element(self, value: Any, ctx: Any) -> Iterator[Row]:
        """A plan: msgpack [version, document, published_at, ...]."""
        documents = ctx.get_broadcast_state(PLANS)
        version, document = msgspec.msgpack.decode(bytes(value))[:2]
        known = sorted({*versions(documents), version})
        documents.put(version, document)
        documents.put(INDEX, msgspec.msgpack.encode(known[-MAX_PLANS:]))
        for old in known[:-MAX_PLANS]:
            documents.remove(old)
        return iter(())

    def process_element(self, value: Any, ctx: Any) -> Iterator[Row]:
        data = bytes(value)
        head = record_head(data)
        held = keyed.load(head.key, self._person.value())
        yield from self._take(held, data, ctx, head.received_at)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[Row]:
        """Time decides nothing: what is due is told to the log."""
        key, now = ctx.get_current_key(), _now()
        held = keyed.load(key, self._person.value())
        if timestamp != held.alarm:
            return
        due = keyed.due(held)
        if held.waiting or due is None:
            yield from self._take(held, None, ctx, now)
        elif due > now:
            self._set_alarm(held, ctx, due)
            self._keep(held)
        else:
            version = newest(ctx.get_broadcast_state(PLANS))
            yield Row(self._records, *keyed.wake(held, max(version, held.state.plan_version)))

    def _take(self, held: keyed.Held, data: bytes | None, ctx: Any, at: int) -> Iterator[Row]:
        said = keyed.take(held, data, lambda version: self._plans.find(version, lambda: ctx.get_broadcast_state(PLANS)))
        self._look_ahead(held, ctx, at)
        if data is None and not held.waiting and not held.blob:
            self._person.clear()
        else:
            self._keep(held)
        yield from self._rows(held.state.key, said)

    def _look_ahead(self, held: keyed.Held, ctx: Any, at: int) -> None:
        """Set the timer, if there is none that fires early enough.  ``at``: of the record."""
        now = _now()
        due = keyed.due(held)
        if held.waiting:
            alarm = now + LOOK_AGAIN_MS
        elif due is not None:
            alarm = max(due, now + min(max(now - at, 0), CATCHING_UP_MS))
        elif not held.blob:
            alarm = now + FORGET_MS
        else:
            return
        if not now < held.alarm <= alarm:
            self._set_alarm(held, ctx, alarm)

    def _set_alarm(self, held: keyed.Held, ctx: Any, alarm: int) -> None:
        held.alarm = alarm
        ctx.timer_service().register_processing_time_timer(alarm)

    def _keep(self, held: keyed.Held) -> None:
        self._person.update(keyed.dump(held))

    def _rows(self, key: str, said: keyed.Said) -> Iterator[Row]:
        for place, record in said.hops:
            yield Row(self._records, place, record)
        place = partition_key(bucket(key))
        for decided in said.decided:
            yield Row(self._effects, place, decided)
        if not self._tells:
            return
        if said.facts:
            yield Row(self._facts, place, b"\n".join(said.facts))
        for outcome in said.outcomes:
            yield Row(self._outcomes, place, outcome)
