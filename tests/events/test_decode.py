"""From the wire to events: liberal in form, strict in bounds, never raising for an item of a batch."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.events.decode import (
    Arrival,
    Refused,
    TooMany,
    decode_batch,
    decode_call,
    open_batch,
    write_key_of,
)
from heliograph.events.event import Event
from heliograph.events.identity import key_of
from heliograph.events.limits import MAX_EVENT_BYTES

NOW = 1_767_261_600_000  # 2026-01-01T10:00:00Z


def arrive(type: str = "track", /, raw: bytes | None = None, **call: Any) -> Arrival:
    body = raw if raw is not None else json.dumps({"event": "Seen", "userId": "u1", **call}).encode()
    return decode_call(type, body, NOW, lambda: "made-up")


def event(type: str = "track", /, **call: Any) -> Event:
    arrival = arrive(type, **call)
    assert arrival.event is not None, arrival.refused
    return arrival.event


def refusal(type: str = "track", /, raw: bytes | None = None, **call: Any) -> str:
    arrival = arrive(type, raw, **call)
    assert arrival.event is None
    return arrival.refused


def batch(*items: Any, **envelope: Any) -> list[Arrival]:
    return decode_batch(open_batch(json.dumps({"batch": items, **envelope}).encode()), NOW, lambda: "made-up")


# -- one call --


def test_a_track_call_becomes_an_event() -> None:
    seen = event(
        messageId="m1",
        anonymousId="a1",
        properties={"price": 1.5},
        context={"locale": "de"},
        integrations={"All": True},
        timestamp="2026-01-01T09:00:00Z",
    )
    assert seen == Event(
        "m1", "track", "Seen", NOW - 3_600_000, "u1", "a1", None, None, {"price": 1.5}, {}, {"locale": "de"}
    )


def test_a_missing_message_id_is_made_up() -> None:
    assert arrive().message_id == event().event_id == "made-up"
    assert event(messageId="").event_id == "made-up"


@pytest.mark.parametrize(
    ("given_", "read"), [(42, "42"), (42.0, "42"), (1.5, "1.5"), (10**25, str(10**25)), ("x", "x")]
)
def test_ids_may_be_numbers(given_: Any, read: str) -> None:
    assert event(userId=given_).user_id == read


@pytest.mark.parametrize("blank", ["", "   ", None])
def test_a_blank_id_is_no_id(blank: Any) -> None:
    assert key_of(event(userId=blank, anonymousId="a1")) == "a:a1"


@pytest.mark.parametrize(
    ("type", "name"), [("page", "Page Viewed"), ("screen", "Screen Viewed"), ("identify", "Identified")]
)
def test_calls_without_an_event_name_get_the_word_of_the_contract(type: str, name: str) -> None:
    assert event(type).name == name


def test_the_name_and_category_of_a_page_are_properties() -> None:
    assert event("page", name="Home", category="Docs", properties={"url": "/"}).properties == {
        "name": "Home",
        "category": "Docs",
        "url": "/",
    }
    assert event("page", name="Home", properties={"name": "Mine"}).properties == {"name": "Mine"}


def test_the_traits_of_a_group_are_not_the_persons() -> None:
    joined = event("group", groupId="g1", traits={"email": "office@firm.example"})
    assert (joined.traits, joined.properties, joined.group_id) == ({}, {"email": "office@firm.example"}, "g1")


def test_an_email_alone_names_a_person() -> None:
    assert (key_of(event("identify", userId=None, traits={"email": "A@b.example"})) or "").startswith("e:")
    assert (key_of(event(userId=None, context={"traits": {"email": "a@b.example"}})) or "").startswith("e:")


def test_historical_is_read_from_the_context() -> None:
    assert event(context={"historical": True}).historical


@pytest.mark.parametrize("empty", [[], {}, None])
def test_an_empty_list_is_an_empty_object(empty: Any) -> None:
    """PHP writes empty objects so."""
    assert event(properties=empty, context=empty).properties == {}


# -- clocks --


def test_the_clock_of_the_sender_drops_out() -> None:
    wrong_by_a_day = {"timestamp": "2025-12-31T09:59:50Z", "sentAt": "2025-12-31T10:00:00Z"}
    assert event(**wrong_by_a_day).occurred_at == NOW - 10_000
    assert event(**{**wrong_by_a_day, "originalTimestamp": "2025-12-31T09:59:40Z"}).occurred_at == NOW - 20_000


def test_nothing_occurs_after_it_was_received() -> None:
    assert event(timestamp="2027-01-01T00:00:00Z").occurred_at == NOW
    assert event(timestamp="2026-01-01T10:00:01Z", sentAt="2026-01-01T10:00:00Z").occurred_at == NOW


def test_a_senseless_sent_at_corrects_nothing() -> None:
    assert event(timestamp="2026-01-01T09:00:00Z", sentAt="soon").occurred_at == NOW - 3_600_000


def test_sent_at_of_the_envelope_holds_for_items_without_their_own() -> None:
    call = {"type": "track", "event": "Seen", "userId": "u1", "timestamp": "2026-01-01T09:00:00Z"}
    both = batch(call, {**call, "sentAt": "2026-01-01T09:00:02Z"}, sentAt="2026-01-01T09:00:01Z")
    assert [item.event.occurred_at for item in both if item.event] == [NOW - 1_000, NOW - 2_000]


# -- refusals --


@pytest.mark.parametrize(
    ("type", "call", "words"),
    [
        ("track", {"event": None}, "the name of what happened"),
        ("track", {"event": "Email Opened"}, "only Heliograph"),
        ("track", {"event": "x" * 1001}, "longer than 1,000 bytes"),
        ("track", {"userId": None}, "nobody is named"),
        ("track", {"userId": "ü" * 501}, "longer than 1,000 bytes"),
        ("track", {"userId": True}, '"userId" must be text, not bool'),
        ("track", {"userId": {"id": 1}}, '"userId" must be text, not object'),
        ("track", {"messageId": "m" * 101}, "101 characters; the limit is 100"),
        ("track", {"timestamp": "yesterday"}, "RFC 3339"),
        ("track", {"properties": "x"}, '"properties" must be an object'),
        ("track", {"properties": [1]}, '"properties" must be an object, not a list'),
        ("alias", {}, "previousId"),
        ("group", {}, '"groupId"'),
    ],
)
def test_a_refusal_says_what_to_change(type: str, call: dict[str, Any], words: str) -> None:
    assert words in refusal(type, **call)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"event=Seen", "not JSON"),
        (b"[]", "must be an object, not array"),
        (b'"text"', "must be an object, not str"),
        (b'{"event":', "not JSON"),
        (b'{"event":"a","userId":1,"properties":' + b"[" * 30_000 + b"}", "far too deep"),
        (b'{"event":"a","userId":1,"properties":{"a":' + b"[" * 9_000 + b"]" * 9_000 + b"}}", "deep"),
        (b'{"event":"a","userId":1,"properties":{"a":' + b"[" * 70 + b"]" * 70 + b"}}", "64 deep"),
        (b'{"event":"a","userId":1,"properties":{"a":1e999}}', "too large; send it as text"),
    ],
)
def test_what_is_not_a_call_is_refused_in_words(raw: bytes, words: str) -> None:
    assert words in refusal(raw=raw)


def test_an_event_may_have_32_kb_and_not_a_byte_more() -> None:
    frame = json.dumps({"event": "Seen", "userId": "u1", "properties": {"text": ""}}).encode()
    full = frame.replace(b'""', b'"' + b"x" * (MAX_EVENT_BYTES - len(frame)) + b'"')
    assert len(full) == 32_768
    assert arrive(raw=full).event
    assert "32,769 bytes" in refusal(raw=full.replace(b"xx", b"xxx", 1))


def test_a_refused_call_keeps_its_own_id_and_its_bytes() -> None:
    arrival = arrive(messageId="mine", event=None)
    assert arrival.message_id == "mine"
    assert b"mine" in arrival.raw


# -- strange text and numbers --


def test_nearly_json_is_read() -> None:
    for raw in (
        b'{"event":"Seen","userId":"u1","properties":{"x":NaN,"y":Infinity}}',
        b'\xef\xbb\xbf{"event":"Seen","userId":"u1"}',
        b'{"event":"Seen","userId":"u1","properties":{"x":"a\nb"}}',
    ):
        assert arrive(raw=raw).event, raw


def test_text_that_no_store_can_hold_is_replaced() -> None:
    properties = arrive(raw=b'{"event":"a\\u0000b","userId":"u1","properties":{"k\\u0000":"\\ud83d","b":"\xff"}}').event
    assert properties is not None
    assert (properties.name, properties.properties) == ("a\ufffdb", {"k\ufffd": "\ufffd", "b": "\ufffd"})


def test_whole_emoji_stay_whole() -> None:
    assert (
        arrive(raw=b'{"event":"a","userId":"u1","properties":{"x":"\\ud83d\\ude00","y":NaN}}').event.properties["x"]
        == "😀"
    )  # type: ignore[union-attr]


def test_numbers_beyond_64_bits_become_floats() -> None:
    assert event(properties={"n": [2**64, -(2**63), 2**64 - 1]}).properties == {
        "n": [float(2**64), -(2**63), 2**64 - 1]
    }


# -- batches --


def test_one_bad_item_does_not_stop_its_neighbours() -> None:
    good = {"type": "track", "event": "Seen", "userId": "u1", "messageId": "m"}
    items = batch(good, {"type": "dance"}, 7, {**good, "event": None}, {"event": "x", "userId": 1}, good)
    assert [bool(item.event) for item in items] == [True, False, False, False, False, True]
    assert all(item.refused for item in items if item.event is None)


def test_the_context_of_the_envelope_lies_beneath() -> None:
    call = {"type": "track", "event": "Seen", "userId": "u1", "context": {"locale": "de"}}
    (item,) = batch(call, context={"locale": "en", "app": "x"})
    assert item.event is not None
    assert item.event.context == {"locale": "de", "app": "x"}


def test_nearly_json_in_one_item_leaves_the_batch_whole() -> None:
    good = b'{"type":"track","event":"a","userId":"u1"}'
    body = b'{"batch":[' + good + b',{"type":"track","event":"a","userId":"u1","properties":{"x":NaN}},' + good + b"]}"
    assert all(item.event for item in decode_batch(open_batch(body), NOW, lambda: "m"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"batch":{}}', b'{"batch":null}', b"no"])
def test_a_broken_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="the batch cannot be read"):
        open_batch(body)


def test_a_batch_has_at_most_2500_items() -> None:
    assert len(open_batch(b'{"batch":[' + b",".join([b"{}"] * 2500) + b"]}").batch) == 2500
    with pytest.raises(TooMany, match="2,501"):
        open_batch(b'{"batch":[' + b",".join([b"{}"] * 2501) + b"]}")


def test_the_write_key_may_be_in_the_body() -> None:
    assert write_key_of(b'{"writeKey":"k"}') == "k"
    assert write_key_of(b'{"writeKey":1}') is write_key_of(b"{}") is write_key_of(b"no") is None


# -- laws --

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = (
    "type",
    "event",
    "userId",
    "anonymousId",
    "messageId",
    "timestamp",
    "sentAt",
    "properties",
    "traits",
    "context",
)
CALLS = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON) | {"userId": st.text() | st.integers()})


@given(st.sampled_from(["track", "identify", "page", "group", "alias"]), CALLS | JSON)
@settings(deadline=None, max_examples=300)
def test_any_json_is_an_event_that_can_be_stored_or_a_sentence(type: str, value: Any) -> None:
    arrival = decode_call(type, json.dumps(value).encode(), NOW, lambda: "m")
    assert (arrival.event is None) == bool(arrival.refused)
    assert 0 < len(arrival.message_id) <= 100
    if arrival.event:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(arrival.event), type=Event).event_id == arrival.message_id
        assert arrival.event.occurred_at <= NOW
        assert key_of(arrival.event)


@given(st.binary() | st.text().map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_answered(body: bytes) -> None:
    assert arrive(raw=body).refused or arrive(raw=body).event
    try:
        decode_batch(open_batch(body), NOW, lambda: "m")
    except Refused as error:
        assert str(error)


@pytest.mark.parametrize("preferences", [{"offers": "yes"}, {"offers": 1}, {"offers": None}, ["offers"], "offers"])
def test_a_consent_that_cannot_be_understood_is_refused_and_never_dropped_in_silence(preferences: object) -> None:
    context = {"consent": {"categoryPreferences": preferences}}
    body = msgspec.json.encode({"userId": "u", "traits": {}, "context": context})
    arrival = decode_call("identify", body, 1_000, lambda: "made-up")
    assert arrival.event is None
    assert "true or false" in arrival.refused
