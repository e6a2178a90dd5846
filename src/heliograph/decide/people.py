"""Who is this: links between keys, stubs that forward, and what is known of a person (design, section 4).

How two keys become one.  A record at ``u:1`` that also names ``a:x`` parks, with all later records, and ``Link`` goes
to ``a:x``.  That key answers ``MergeInto`` with its whole state, becomes a stub and forwards what still arrives.  The
answer is merged, then the parked records are decided in order.  A stub that is asked by another user (a shared device)
has no history to give: it answers empty, forwards to the latest user, and tells the former one with ``Unlink``, who
asks again when that device comes back.

Two keys that ask each other at the same time: the smaller one stays.  Requests are always answered at once, also by a
key that waits itself (its parked records travel on), so nothing ever waits in a circle; longer circles of stubs are
cut after :data:`~heliograph.events.record.MAX_HOPS`.
"""

from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from heliograph.decide import bounds, consent, members
from heliograph.decide.effects import IndexEmail, SetMembership
from heliograph.decide.state import (
    MAX_CLOCK_BYTES,
    MAX_LINKS,
    MAX_PARKED,
    MAX_PARKED_BYTES,
    MAX_TRAIT_BYTES,
    State,
    StateTooNew,
    decode_state,
    encode_unnumbered,
    new_state,
    size_of,
)
from heliograph.decide.times import is_zone
from heliograph.decide.turn import Turn
from heliograph.events.event import Event
from heliograph.events.identity import email_key, normalise_address
from heliograph.events.record import (
    MAX_HOPS,
    Answer,
    Enter,
    EventBody,
    LedgerChange,
    LedgerRow,
    Link,
    ListChange,
    MergeInto,
    Offer,
    Outcome,
    Record,
    Unlink,
    decode_record,
    encode_record,
)

MAX_TRAITS: Final = 1000
"""Trait names, removed ones included."""

Forwarded: TypeAlias = EventBody | MergeInto | Outcome | LedgerChange | ListChange | Enter | Answer | Offer


# -- links --


def unlinked(state: State, event: Event) -> list[str]:
    """Keys that this event says are the same person and whose history is not here yet.

    An alias names ``a:`` and ``u:`` of its previousId; a userId links its anonymousId and its email; an anonymousId
    links nothing.
    """
    user = event.user_id
    if not user:
        return []
    wanted = []
    if event.anonymous_id and (device := "a:" + event.anonymous_id) not in state.links:
        wanted.append(device)
    if event.type == "alias" and event.previous_id:
        wanted += [key for key in ("a:" + event.previous_id, "u:" + event.previous_id) if key not in state.links]
    traits = event.traits or "traits" in event.context
    if traits and (key := _email_key(state, event)) and key not in state.links:
        wanted.append(key)
    own = ("u:" + user, state.key)
    return [key for key in dict.fromkeys(wanted) if key not in own] if wanted else wanted


def _email_key(state: State, event: Event) -> str:
    context_traits = event.context.get("traits")
    for traits in (event.traits, context_traits if isinstance(context_traits, dict) else {}):
        if isinstance(email := traits.get("email"), str):
            known = state.address if email == state.traits.get("email") else None
            address = known or normalise_address(email)
            return email_key(address) if address else ""
    return ""


def ask(turn: Turn, keys: list[str]) -> bool:
    """Ask these keys for their history; False when there is no room for them."""
    state = turn.state
    many = len(state.pending) + len(keys) > MAX_LINKS
    if many or not bounds.room(turn, sum(len(key.encode()) for key in keys)):
        turn.fact("cut", what="links", limit=MAX_LINKS)
        return False
    while len(state.links) + len(state.pending) + len(keys) > MAX_LINKS:
        _let_go(turn)
    for key in keys:
        state.pending.append(key)
        turn.hop(key, Link(state.key))
    return True


def _let_go(turn: Turn) -> None:
    """The oldest device is not counted among the person's ids any more: its history is here, its stub goes on handing
    over what it hears, and should it come with the user again it is asked again, which gives nothing twice."""
    links = turn.state.links
    oldest = next((key for key in links if key.startswith("a:")), links[0])
    links.remove(oldest)
    turn.fact("cut", what="links", limit=MAX_LINKS, key=oldest)


def park(turn: Turn, record: Record) -> bool:
    """Put the record aside until all answers are here; False when there is no room."""
    parked = turn.state.parked
    data = encode_record(record)
    if len(parked) >= MAX_PARKED or sum(map(len, parked)) + len(data) > MAX_PARKED_BYTES:
        return False
    if not bounds.room(turn, len(data)):
        return False
    parked.append(data)
    return True


def give_up(turn: Turn) -> None:
    """Wait no longer: the answers are merged whenever they come."""
    turn.fact("cut", what="parked", limit=MAX_PARKED)
    turn.state.links += turn.state.pending
    turn.state.pending = []


def take_parked(state: State) -> list[Record]:
    parked, state.parked = state.parked, []
    return [decode_record(data) for data in parked]


# -- stubs --


def answer(turn: Turn, link: Link) -> State:
    """Give this key's history to ``link.to`` and become a stub; the state to go on with."""
    state, to = turn.state, link.to
    if to == state.key:
        return state
    if to in state.pending and state.key < to:
        turn.hop(to, MergeInto(state.key, b""))  # it asks us while we ask it: we stay, it comes
        return state
    if state.forward:
        turn.hop(to, MergeInto(state.key, b""))
        if state.forward != to:
            turn.hop(state.forward, Unlink(state.key))
        state.forward = to
        return state
    return _become_stub(turn, to)


def _become_stub(turn: Turn, to: str) -> State:
    state = turn.state
    parked = take_parked(state)
    state.pending = []
    turn.hop(to, MergeInto(state.key, encode_unnumbered(state) if state.plan_version else b""))
    for record in parked:
        if not forward(turn, record, to):
            turn.fact("cut", what="hops", limit=MAX_HOPS, record=record.id)
    for name in state.members:
        turn.emit(SetMembership(name, False, turn.t))
    if state.address:
        turn.emit(IndexEmail(state.address, False))
    stub = new_state(state.key)
    stub.created_at, stub.last_t, stub.plan_version, stub.forward = state.created_at, state.last_t, 0, to
    turn.state = stub
    return stub


def forward(turn: Turn, record: Record, to: str) -> bool:
    """Hand the record on; False when it has been handed on too often: the caller decides it here."""
    body = record.body
    if not isinstance(body, Forwarded):
        return True
    if body.hops >= MAX_HOPS:
        return False
    if isinstance(body, Offer):  # folded for one key, so it says nothing of how complete the other is
        body = replace(body, plan=0)
    turn.hop(to, replace(body, hops=body.hops + 1))
    return True


def unlink(turn: Turn, source: str) -> None:
    """A device belongs to somebody else now: ask again when it comes back."""
    if source in turn.state.links:
        turn.state.links.remove(source)


# -- traits --


def learn(turn: Turn, event: Event, mark: int, rows: list[LedgerRow]) -> None:
    """Traits of an ``identify``, and ``context.traits`` and ``context.timezone`` of any call: the last writer of each
    trait by (occurred_at, hash of the event id) wins; null removes.  A top-level trait is written as a whole.

    Of events of one millisecond the one that happened on arrival is the later one: two calls of a batch without
    timestamps count in their order, and what has a time of its own still converges however it is reordered."""
    said = _traits_of(event)
    arrived = event.occurred_at == turn.t
    before = turn.state.traits.get("email")
    for name, value in said.items():
        write_trait(turn, name, value, (event.occurred_at, mark), arrived=arrived)
    zone = event.context.get("timezone")
    if is_zone(zone):
        write_zone(turn, (str(zone), event.occurred_at, mark))
    email = turn.state.traits.get("email")
    if rows or email != before:
        consent.hold_address(turn, address_of(email), rows)


def _traits_of(event: Event) -> dict[str, Any]:
    context_traits = event.context.get("traits")
    said = context_traits if isinstance(context_traits, dict) else {}
    return {**said, **event.traits} if event.type == "identify" else said


def address_of(email: Any) -> str:
    return (normalise_address(email) or "") if isinstance(email, str) else ""


def write_trait(turn: Turn, name: str, value: Any, clock: tuple[int, int], *, arrived: bool = False) -> None:
    state = turn.state
    latest = state.clocks.get(name, _NEVER)
    if clock <= latest and not (arrived and clock[0] == latest[0]):
        return
    old = state.traits.get(name)
    news = name not in state.clocks or not _same(value, old)
    if news and not _room_for(turn, name, value, old):
        return
    state.clocks[name] = clock
    if _same(value, old):
        return
    if value is None:
        del state.traits[name]
    else:
        state.traits[name] = value
    members.traits_changed(turn, name, old, value)


_NEVER: Final = (-(1 << 63), -1)


def _same(value: Any, old: Any) -> bool:
    """Equal and of one type: true is not 1, and 1.0 is not written over by 1 unnoticed."""
    return value == old and type(value) is type(old) and not isinstance(value, list | dict)


def _room_for(turn: Turn, name: str, value: Any, old: Any) -> bool:
    state = turn.state
    names = len(state.clocks) + (name not in state.clocks)
    size = size_of(state.traits) - size_of(old) + size_of(value) + (len(name) * 4 if name not in state.traits else 0)
    if value is None and name in state.traits:
        return True
    named = name in state.clocks or size_of(state.clocks) + len(name.encode()) + 24 <= MAX_CLOCK_BYTES
    fits = names <= MAX_TRAITS and named and (value is None or size <= MAX_TRAIT_BYTES)
    if fits and bounds.room(turn, max(size_of(value) - size_of(old), 0) + len(name.encode()) + 24):
        return True
    turn.fact_once("cut", what="traits", limit=MAX_TRAITS if names > MAX_TRAITS else MAX_TRAIT_BYTES, trait=name[:64])
    return False


def write_zone(turn: Turn, zone: tuple[str, int, int]) -> None:
    """The latest ``context.timezone``."""
    old = turn.state.zone
    if zone[1:] > old[1:]:
        turn.state.zone = zone
        if zone[0] != old[0]:
            members.traits_changed(turn, "timezone", old[0], zone[0])


def decode_source(blob: bytes) -> State | None:
    """The state in a :class:`MergeInto`; None when it is empty or damaged."""
    try:
        return decode_state(blob) if blob else None
    except (msgspec.DecodeError, StateTooNew):
        return None
