"""Profiles: who is it, what happened to them, and why (or why not)."""

import difflib
from collections.abc import Callable
from typing import Annotated, Any

from litestar import Router, get
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Parameter

from heliograph import decide
from heliograph.console import shapes
from heliograph.console.slashes import as_sent
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.times import iso
from heliograph.events.identity import profile_id
from heliograph.ports import Engine, MessageRow, Store

NEAR_MISS_SCAN = 20_000
"""Keys or addresses looked at for a name like the one asked for: about 20 ms, only when nobody has that name."""
WAITING_READ = 100
"""Waiting messages of one person that ``why`` looks through."""
SHORT = 4
"""Characters up to which one wrong letter is a large part of a name."""
MAX_ASKED = 100
"""Characters of an unknown name that are compared and repeated."""
JOURNAL_READ = 1_000
"""Facts of one person that ``why`` reads, newest first."""

Limit = Annotated[int, Parameter(ge=1, le=1000)]


def near_people(store: Store, asked: str) -> list[str]:
    """Up to three addresses or profiles whose name is like the one that nobody has."""
    return near(asked, store.emails(asked[:1].lower(), NEAR_MISS_SCAN) if "@" in asked else near_names(store))


def near(asked: str, names: list[str]) -> list[str]:
    lowered = {name.lower(): name for name in names}
    alike = difflib.get_close_matches(asked.lower(), lowered, 3, 0.75 if len(asked) > SHORT else 0.6)
    return [lowered[name] for name in alike]


def near_names(store: Store) -> list[str]:
    names: list[str] = []
    last: str | None = None
    while len(names) < NEAR_MISS_SCAN and (page := store.keys(last, 1000)):
        names += [profile_id(key) for key in page]
        last = page[-1]
    return names


def near_word(word: str, words: list[str]) -> str:
    alike = difflib.get_close_matches(word, words, 1, 0.5)
    return f"; did you mean {alike[0]}?" if alike else f"; there are: {', '.join(sorted(words)) or 'none'}"


def find_or_404(engine: Engine, person: str) -> list[str]:
    """The keys of a person (an address may have several), or a 404 that names near misses."""
    person = as_sent(person)
    if keys := engine.find(person):
        return keys
    alike = near_people(engine.store, person[:MAX_ASKED])
    hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
    raise NotFoundException(f"nobody is known as {person[:MAX_ASKED]!r}{hint}")


def journal_of(engine: Engine, key: str, limit: int = JOURNAL_READ) -> list[tuple[int, str, dict[str, Any]]]:
    return [(row.at, row.kind, row.data) for row in engine.store.journal(key, limit)]


def timeline_of(engine: Engine, key: str, limit: int) -> list[shapes.TimelineItem]:
    """Events, facts and messages of a person, newest first."""
    items = [
        shapes.TimelineItem(event.occurred_at, "event", shapes.event_of(event))
        for event in engine.store.recent_history(key, limit)
    ]
    items += [shapes.TimelineItem(at, kind, data) for at, kind, data in journal_of(engine, key, limit)]
    messages, _ = engine.store.messages(key=key, limit=limit)
    items += [
        shapes.TimelineItem(row.sent_at or row.created_at, "message", {"template": row.template, "status": row.status,
                            "reason": row.reason, "journey": row.journey, "message_id": row.message_id})
        for row in messages
    ]  # fmt: skip
    return sorted(items, key=lambda item: -item.at)[:limit]


def explain(engine: Engine, key: str, journey: str | None, template: str | None) -> dict[str, Any]:
    """``why`` for one person and one journey or template."""
    plan, state, now = engine.plan, engine.state(key), engine.clock.now()
    if journey is not None:
        if journey not in plan.journeys and journey not in plan.removed and not broadcast_of(journey):
            raise NotFoundException(f"no journey is called {journey!r}{near_word(journey, list(plan.journeys))}")
        answer = decide.explain_journey(state, plan, journey, now, journal_of(engine, key))
        return with_waiting(engine, key, answer, lambda row: row.journey == journey)
    assert template is not None
    if template not in plan.templates:
        raise NotFoundException(f"no template is called {template!r}{near_word(template, list(plan.templates))}")
    answer = decide.explain_template(state, plan, template, now, journal_of(engine, key))
    return with_waiting(engine, key, answer, lambda row: row.template == template)


def with_waiting(
    engine: Engine, key: str, answer: dict[str, Any], asked: Callable[[MessageRow], bool]
) -> dict[str, Any]:
    """Tell why mail that was decided has not left: deciding is over then, only the outbox knows."""
    rows, _ = engine.store.messages(key=key, status="queued", limit=WAITING_READ)
    found = [(row.template, why_waiting(engine, row)) for row in rows if asked(row)]
    waits = [f"The mail {template!r} waits: {why}." for template, why in found if why]
    return {**answer, "sentence": " ".join([answer["sentence"], *waits])}


def why_waiting(engine: Engine, row: MessageRow) -> str:
    """What keeps a queued message: its journey's mail is held, what its receiver said, or a limit; "" for its
    turn only."""
    hold = engine.holds().get(row.journey)
    if hold is None:
        return row.reason or engine.waiting_for(row.message_id)
    broadcast = broadcast_of(row.journey)
    name = f"the broadcast {broadcast!r}" if broadcast else row.journey
    return f"{name} is paused since {iso(hold.at)} by {hold.by}: {hold.reason or 'no reason given'}"


def router(engine: Engine) -> Router:
    @get("/{person:str}", summary="One profile: traits, segments, runs, consent")
    async def profile(person: str) -> shapes.Profile:
        keys = find_or_404(engine, person)
        view = decide.profile_view(engine.state(keys[0]), engine.plan, engine.clock.now())
        return shapes.Profile(
            profile_id=profile_id(keys[0]),
            traits=view["traits"],
            segments=view["segments"],
            runs=view["runs"],
            consent=view["consent"],
            ids=view["ids"],
            first_seen_at=view["first_seen_at"],
            last_seen_at=view["last_seen_at"],
            also=[profile_id(key) for key in keys[1:]],
        )

    @get("/{person:str}/timeline", summary="What happened to this person, newest first")
    async def timeline(person: str, limit: Limit = 100) -> shapes.Timeline:
        return shapes.Timeline(timeline_of(engine, find_or_404(engine, person)[0], limit))

    @get("/{person:str}/why", summary="Why this person did, or did not, get a mail")
    async def why(person: str, journey: str | None = None, template: str | None = None) -> dict[str, Any]:
        if (journey is None) == (template is None):
            raise HTTPException("say which: ?journey=NAME or ?template=NAME", status_code=400)
        key = find_or_404(engine, person)[0]
        return {"profile_id": profile_id(key), **explain(engine, key, journey, template)}

    return Router("/profiles", route_handlers=[profile, timeline, why], tags=["profiles"])
