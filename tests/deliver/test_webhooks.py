"""Webhooks as pure rules: what a reply means, when to try again, and a signature that others can verify."""

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from heliograph.deliver import webhooks

NOW = 1_750_000_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def secret(fill: int = 7, size: int = 32) -> str:
    return "whsec_" + base64.b64encode(bytes([fill]) * size).decode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "ok"), (201, "ok"), (204, "ok"), (299, "ok"), (301, "failed"), (302, "failed"), (308, "failed"),
     (400, "failed"), (401, "failed"), (404, "failed"), (410, "failed"), (408, "again"), (425, "again"),
     (429, "again"), (500, "again"), (502, "again"), (503, "again"), (599, "again"), (101, "failed")],
)  # fmt: skip
def test_what_a_status_means(status: int, kind: str) -> None:
    found = webhooks.judge(status, {}, NOW)
    assert found.kind == kind
    assert (found.reason == "") == (kind == "ok") and str(status) in found.reason + str(status) * (kind == "ok")


@pytest.mark.parametrize(
    ("value", "ms"),
    [("120", 120_000), ("0", 0), ("", 0), ("soon", 0), ("-5", 0), ("9" * 400, webhooks.LONGEST_RETRY_AFTER_MS),
     ("1e3", 0), ("\u0663", 0), ("Sun, 99 Nov 1994 08:49:37 GMT", 0), ("Sun, 06 Nov 1994 08:49:37 GMT", 0)],
)  # fmt: skip
def test_retry_after_in_seconds_is_capped_and_nonsense_is_none(value: str, ms: int) -> None:
    assert webhooks.retry_after_ms(value, NOW) == ms


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.fromtimestamp(NOW / 1000 + 90, UTC), usegmt=True)
    assert webhooks.retry_after_ms(date, NOW) == 90_000


def test_tries_come_later_and_later_never_before_the_receiver_asked_nor_after_the_end() -> None:
    waits = [webhooks.next_try("r", tries, 0, 10**9) for tries in range(1, 20)]
    assert all(wait is not None and wait <= 1.2 * webhooks.POLICY.longest_ms for wait in waits)
    assert waits[0] and 800 <= waits[0] <= 1_200 and waits[8] and waits[8] > 100_000
    assert webhooks.next_try("r", 1, 0, 10**9, after_ms=60_000) == 60_000
    assert webhooks.next_try("r", 1, 0, 60_000, after_ms=60_000) is None
    assert webhooks.next_try("r", 1, 0, 10**9) == waits[0], "the same for the same request"
    assert webhooks.next_try("other", 1, 0, 10**9) != waits[0]


@given(body=st.binary(max_size=200), fill=st.integers(0, 255), size=st.integers(24, 64))
@settings(max_examples=50, deadline=None)
def test_the_official_library_verifies_what_we_sign(body: bytes, fill: int, size: int) -> None:
    body = json.dumps({"body": body.hex()}).encode()
    written = secret(fill, size)
    now = int(datetime.now(UTC).timestamp() * 1000)
    found = webhooks.headers("msg_1", body, now, [webhooks.read_secret(written)])
    assert Webhook(written).verify(body, found) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(written).verify(body + b" ", found)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(fill ^ 1, size)).verify(body, found)


def test_during_rotation_the_holder_of_either_secret_can_verify() -> None:
    old, new = secret(1), secret(2)
    now = int(datetime.now(UTC).timestamp() * 1000)
    found = webhooks.headers("msg_1", b"{}", now, [webhooks.read_secret(new), webhooks.read_secret(old)])
    assert len(found["webhook-signature"].split()) == 2
    for written in (old, new):
        assert Webhook(written).verify(b"{}", found) == {}


def test_the_known_signature_of_the_specification() -> None:
    """The example of the reference implementations."""
    key = webhooks.read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = webhooks.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_a_request_goes_unsigned_and_still_has_its_id() -> None:
    assert webhooks.headers("m", b"{}", NOW, []) == {
        "webhook-id": "m", "webhook-timestamp": "1750000000", "content-type": "application/json",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "whsec_", "abc", "whsec_!!!", "whsec_" + "A" * 28, "whsec_" + "A" * 92, "whsec"])
def test_a_secret_that_is_none_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand"):
        webhooks.read_secret(text)


@given(JSON)
@settings(max_examples=100, deadline=None)
def test_any_json_becomes_something_that_records_can_hold(value: object) -> None:
    import msgspec

    found = webhooks.read_json(json.dumps(value).encode())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found)) == found


@pytest.mark.parametrize("body", [b"", b"ok", b"<html>", b"\xff", b"[" * 60_000, b"[" * 65 + b"]" * 65, b'{"a":}'])
def test_what_is_no_json_or_too_deep_is_none(body: bytes) -> None:
    assert webhooks.read_json(body) is None


def test_depth_up_to_the_limit_is_kept() -> None:
    assert webhooks.read_json(b"[" * 64 + b"]" * 64) is not None
    assert webhooks.read_json(b'{"n": 1%s}' % (b"0" * 30)) == {"n": 1e30}
