"""Consent and suppression as the person's state sees them: a view of the ledger for the present address.

The ledger is kept by (normalised address, topic) and is read again at the commit point of each message; this view is
what conditions and decisions see.  Rows that the runtime brings (attached to an event that sets the address, or as a
:class:`~heliograph.events.record.LedgerChange`) are what the ledger says and simply replace it.  Words that a person
gives while no address is known wait in the state.  Topics beginning with ``!`` are suppressions.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from heliograph.decide.effects import ChangeLedger, IndexEmail
from heliograph.decide.members import topic_changed
from heliograph.decide.state import MAX_TOPICS, State, Word, clip
from heliograph.decide.turn import Person, Turn
from heliograph.events.event import Event
from heliograph.events.record import LedgerRow

MAX_TOPIC: Final = 64
"""Bytes."""
SUPPRESSIONS: Final[Mapping[str, bool]] = {"!bounce": True, "!manual": True, "!complaint": False}
"""Suppression -> whether it stops transactional mail, too."""


def hold_address(turn: Turn, address: str, rows: Iterable[LedgerRow]) -> None:
    """The person's address is now ``address`` (``""``: none).  What was said for another one stays with that one."""
    state = turn.state
    if address != state.address:
        if state.address:
            turn.emit(IndexEmail(state.address, False))
        if address:
            turn.emit(IndexEmail(address, True))
        _forget(turn, keep=not state.address)
        state.address = address
    hear_ledger(turn, rows)
    if address:
        _deliver_waiting(turn)


def _forget(turn: Turn, *, keep: bool) -> None:
    """Drop the view of the former address; words that wait for one stay."""
    for topic in list(turn.state.consent) if not keep else ():
        del turn.state.consent[topic]
        topic_changed(turn, topic)


def _deliver_waiting(turn: Turn) -> None:
    state = turn.state
    waiting, state.waiting = state.waiting, {}
    said = {
        topic: word for topic, word in waiting.items() if state.consent.get(topic) == word or _say(turn, topic, word)
    }
    if said:
        turn.emit(ChangeLedger([row_of(state.address, topic, word) for topic, word in said.items()]))


def hear_person(turn: Turn, event: Event) -> None:
    """``context.consent.categoryPreferences`` of an ``identify``: topic -> true or false."""
    given = _preferences(event)
    said = {topic: word for topic, word in given.items() if _say(turn, topic, word)}
    if not said:
        return
    if turn.state.address:
        turn.emit(ChangeLedger([row_of(turn.state.address, topic, word) for topic, word in said.items()]))
    else:
        turn.state.waiting.update(said)


def _preferences(event: Event) -> dict[str, Word]:
    consent = event.context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(consent, dict) or not isinstance(preferences, dict):
        return {}
    source, text = consent.get("source"), consent.get("textVersion")
    return {
        topic: Word(
            value,
            event.occurred_at,
            clip(source) if isinstance(source, str) else event.type,
            clip(text) if isinstance(text, str) else "",
            clip(event.event_id),
        )
        for topic, value in preferences.items()
        if isinstance(value, bool)
        and isinstance(topic, str)
        and 0 < len(topic.encode()) <= MAX_TOPIC
        and topic[0] != "!"
    }


def _say(turn: Turn, topic: str, word: Word) -> bool:
    """Take the person's word on a topic, unless a later one stands."""
    old = turn.state.consent.get(topic)
    if not word.beats(old):
        return False
    if old is None and len(turn.state.consent) >= MAX_TOPICS:
        turn.fact("cut", what="topics", limit=MAX_TOPICS)
        return False
    _take(turn, topic, word)
    return True


def hear_ledger(turn: Turn, rows: Iterable[LedgerRow]) -> None:
    """What the ledger says about the present address; rows of another address are nothing to this person."""
    for row in rows:
        if row.address != turn.state.address:
            continue
        word = Word(row.given, row.at, clip(row.source), clip(row.text_version), clip(row.proof))
        old = turn.state.consent.get(row.topic)
        if old == word:
            continue
        if old is None and len(turn.state.consent) >= MAX_TOPICS and row.topic not in SUPPRESSIONS:
            turn.fact("cut", what="topics", limit=MAX_TOPICS)
            continue
        _take(turn, row.topic, word)


def _take(turn: Turn, topic: str, word: Word) -> None:
    old = turn.state.consent.get(topic)
    turn.state.consent[topic] = word
    if old is None or old.given is not word.given:
        topic_changed(turn, topic)
        turn.fact("consent", topic=topic, given=word.given, source=word.source)


def row_of(address: str, topic: str, word: Word) -> LedgerRow:
    return LedgerRow(address, topic, word.given, word.at, word.source, word.text_version, word.proof)


def refusal(person: Person, topic: str, *, transactional: bool) -> str:
    """Why no mail may go to this person on this topic; ``""`` when it may."""
    if not person.state.address:
        return "no_address"
    if stop := suppressed(person.state, transactional=transactional):
        return f"suppressed: {stop}"
    if not transactional and not person.consent(topic):
        return f"no_consent: {topic}"
    return ""


def suppressed(state: State, *, transactional: bool) -> str:
    """``bounce``, ``manual`` or ``complaint``; ``""`` for none that stops this class of mail."""
    for name, stops_all in SUPPRESSIONS.items():
        word = state.consent.get(name)
        if word is not None and not word.given and (stops_all or not transactional):
            return name[1:]
    return ""


def view(state: State, topics: Mapping[str, str]) -> dict[str, Any]:
    """For the API: every topic of the plan and every word that was said, suppressions apart."""
    words = {topic: word for topic, word in state.consent.items() if topic not in SUPPRESSIONS}
    shown: dict[str, Any] = {
        topic: {"given": rule == "assumed", "at": None, "source": rule} for topic, rule in sorted(topics.items())
    }
    for topic, word in sorted(words.items()):
        shown[topic] = {"given": word.given, "at": word.at, "source": word.source}
    stops = [name[1:] for name in SUPPRESSIONS if name in state.consent and not state.consent[name].given]
    return {"topics": shown, "suppressed": stops}
