"""Any stream, reordered and duplicated inside the lateness, ends in the same memberships (design, section 6).

For streams in which an anonymous id links to one user.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide import decode_state
from heliograph.events.event import Event
from tests.decide.driver import DAY, HOUR, MINUTE, T0, World, plan_document

SEGMENTS = {
    "recent": {"did": {"event": "A", "within": "PT2H"}},
    "thrice": {"did": {"event": "A", "at_least": 3, "within": "P1D"}},
    "few": {"did": {"event": "A", "at_most": 2, "within": "P1D"}},
    "exactly": {"did": {"event": "B", "exactly": 2}},
    "same": {"did": {"event": "B", "same": "properties.p", "at_least": 2, "within": "P2D"}},
    "quiet": {"all": [{"did": {"event": "A"}}, {"not": {"in_segment": "recent"}}]},
    "gold": {"trait": {"path": "tier", "is": "gold"}},
    "either": {"any": [{"in_segment": "gold"}, {"in_segment": "same"}]},
    "reader": {"in_topic": "news"},
    "buyer": {"in_topic": "offers"},
    "due": {"trait": {"path": "due", "within": "P2D"}},
}
DOCUMENT = plan_document(segments=SEGMENTS, topics={"offers": "required", "news": "assumed"})
END = T0 + 10 * DAY

TRAITS = st.fixed_dictionaries(
    {},
    optional={
        "tier": st.sampled_from(["gold", "silver", None]),
        "due": st.sampled_from(["2026-09-22", "2026-09-25T10:00:00Z", None]),
        "timezone": st.sampled_from(["Asia/Tokyo", "America/New_York"]),
    },
)
CONSENT = st.dictionaries(st.sampled_from(["news", "offers"]), st.booleans(), max_size=2)
DEVICES = {"1": [None, "x", "y"], "2": [None, "z"]}


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Of one of two users, sometimes only under one of their devices."""
    user = draw(st.sampled_from(["1", "2"]))
    anon = draw(st.sampled_from(DEVICES[user]))
    by_device = anon is not None and draw(st.booleans())
    identify = draw(st.booleans())
    return Event(
        event_id=draw(st.uuids()).hex,
        type="identify" if identify else "track",
        name="Identified" if identify else draw(st.sampled_from(["A", "B"])),
        occurred_at=T0 + draw(st.integers(-2 * DAY // MINUTE, 0)) * MINUTE,
        user_id=None if by_device else user,
        anonymous_id=anon,
        properties={"p": draw(st.sampled_from([1, 2, "1"]))},
        traits=draw(TRAITS) if identify else {},
        context={"consent": {"categoryPreferences": draw(CONSENT)}} if identify else {},
    )


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(events(), max_size=14), st.integers(0, 3))
def test_reordered_and_duplicated_streams_end_in_the_same_memberships(
    data: st.DataObject, stream: list[Event], repeats: int
) -> None:
    logins = [
        Event(f"login {user} {device}", "identify", "Identified", T0, user_id=user, anonymous_id=device)
        for user, devices in DEVICES.items()
        for device in devices
        if device
    ]
    stream = stream + logins
    again = stream + data.draw(st.lists(st.sampled_from(stream), min_size=repeats, max_size=repeats))
    other = data.draw(st.permutations(again))
    assert memberships(stream) == memberships(other)


def memberships(stream: list[Event]) -> dict[str, Any]:
    """At several instants after the last arrival, and what the states say of traits."""
    world = World(DOCUMENT, now=T0)
    for event in stream:
        world.now += 1
        world.post(event)
    world.advance(T0 + 1000 - world.now)
    seen: dict[str, Any] = {}
    while world.now < END:
        seen[str(world.now - T0)] = sorted(world.members)
        world.advance(7 * HOUR)
    for user in DEVICES:
        key = f"u:{user}"
        state = decode_state(world.blobs[key])
        seen[key] = (state.traits, sorted((topic, word.given) for topic, word in state.consent.items()))
    return seen
