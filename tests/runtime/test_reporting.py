"""Bounce and complaint mail: what is proven may stop an address, what is not may move one message, no more."""

import random
from pathlib import Path

import pytest

from heliograph import render
from heliograph.ports import Heard
from heliograph.runtime.reporting import NOT_OURS, NOT_READ, TakeMail
from tests.runtime.test_settling import ADDRESS, Post
from tests.seeds import seeds

KEYS = render.LinkKeys({1: b"k" * 32})
OTHER = render.LinkKeys({1: b"x" * 32})
SAMPLES = Path(__file__).parents[1] / "deliver" / "reports"
PLACEHOLDER, LINK, TO = "TOKEN" * 9, "UNSUBSCRIBETOKEN", "gmail@remote.example"
UNSIGNED = "bounces.shop.example"


@pytest.fixture
def post() -> Post:
    post = Post()
    assert post.offered and post.ask()
    post.report("sent")
    return post


def bounce(post: Post, sample: str = "postfix-gmail", keys: render.LinkKeys | None = None, to: str = ADDRESS) -> bytes:
    """A notification made by Postfix, as if it were about the message: with its id, and signed if there are keys."""
    raw = (SAMPLES / f"{sample}.eml").read_text()
    raw = raw.replace("d" * 25 + raw.split("d" * 25)[1][0], post.row.message_id)
    for mailbox in ("gmail@remote", "policy@remote", "full@remote", "person-1@people"):
        raw = raw.replace(f"{mailbox}.example", to)
    if keys is not None:
        verp = render.ReturnPath("bounce@bounces.shop.example").to(post.row.message_id, keys)
        raw = raw.replace(f"bounce+{PLACEHOLDER}@bounces.shop.example", verp)
    return raw.encode()


def complaint(post: Post, keys: render.LinkKeys | None = None, kind: str = "abuse") -> bytes:
    raw = (SAMPLES / "rfc5965-abuse.eml").read_text().replace("b" * 26, post.row.message_id)
    if keys is not None:
        claims = render.Claims(post.row.message_id, "u:ann", ADDRESS)
        raw = raw.replace("A" * 32, render.sign("u", claims, keys))
    return raw.replace("Feedback-Type: abuse", f"Feedback-Type: {kind}").encode()


def take(post: Post, raw: bytes, recipient: str = "") -> Heard:
    return post.crank.call(TakeMail(raw, recipient, KEYS))


def stopped(post: Post) -> list[str]:
    return [row.topic for row in post.store.ledger(ADDRESS) if not row.given]


def test_a_proven_hard_bounce_stops_the_address(post: Post) -> None:
    heard = take(post, bounce(post, keys=KEYS))
    assert (heard.kind, heard.message_id, heard.proven, heard.suppressed) == (
        "bounced",
        post.row.message_id,
        True,
        True,
    )
    assert heard.reason.startswith("550-5.1.1 The email account")
    assert post.row.status == "bounced" and stopped(post) == ["!bounce"] and post.told == ["sent", "bounced"]
    assert post.row.reason == heard.reason, "and no longer the 250"
    before = post.row
    take(post, bounce(post, keys=KEYS))
    assert post.row == before and post.told == ["sent", "bounced"], "told once"


@pytest.mark.parametrize("sample", ["postfix-policy", "postfix-full"])
def test_a_bounce_about_us_or_for_now_stops_nobody(post: Post, sample: str) -> None:
    heard = take(post, bounce(post, sample, KEYS))
    assert (heard.kind, heard.suppressed, post.row.status, stopped(post)) == ("bounced", False, "bounced", [])


@pytest.mark.parametrize("keys", [None, OTHER])
def test_a_forged_bounce_moves_its_message_and_stops_nobody(post: Post, keys: render.LinkKeys | None) -> None:
    """Whoever knows the id of a message can say that it bounced; the address goes on."""
    heard = take(post, bounce(post, keys=keys))
    assert (heard.kind, heard.proven, heard.suppressed) == ("bounced", False, False)
    assert post.row.status == "bounced" and stopped(post) == []


def test_a_bounce_from_behind_a_forwarding_stops_nobody(post: Post) -> None:
    heard = take(post, bounce(post, keys=KEYS, to="ann.private@elsewhere.example"))
    assert (heard.kind, heard.proven, heard.suppressed, stopped(post)) == ("bounced", True, False, [])


def test_the_envelope_alone_is_proof(post: Post) -> None:
    """Some servers return no headers."""
    raw = b"""Content-Type: multipart/report; boundary=b

--b
Content-Type: message/delivery-status

Final-Recipient: rfc822; ann@example.com
Action: failed
Status: 5.1.1
--b--
"""
    verp = render.ReturnPath("b@bounces.shop.example").to(post.row.message_id, KEYS)
    assert take(post, raw, f"<{verp.upper()}>").suppressed


@pytest.mark.parametrize(("keys", "stops"), [(KEYS, ["!complaint"]), (OTHER, []), (None, [])])
def test_a_complaint_is_proven_by_the_link_that_it_returns(
    post: Post, keys: render.LinkKeys | None, stops: list[str]
) -> None:
    heard = take(post, complaint(post, keys))
    assert (heard.kind, heard.message_id) == ("complained", post.row.message_id)
    assert stopped(post) == stops and post.told == ["sent", "complained"]


@pytest.mark.parametrize(("said", "kind"), [("not-spam", "not_spam"), ("virus", "unknown")])
def test_other_feedback_changes_nothing(post: Post, said: str, kind: str) -> None:
    before = post.row
    assert take(post, complaint(post, KEYS, said)) == Heard(kind, post.row.message_id, True, reason=NOT_READ)
    assert post.row == before and stopped(post) == []


def test_a_delivery_is_told(post: Post) -> None:
    assert take(post, bounce(post, "postfix-person-1", KEYS)).kind == "delivered"
    assert post.row.status == "delivered"


def test_a_delay_changes_nothing(post: Post) -> None:
    raw = (
        bounce(post, keys=KEYS)
        .replace(b"Action: failed", b"Action: delayed")
        .replace(b"Status: 5.1.1", b"Status: 4.2.1")
    )
    before = post.row
    assert take(post, raw).kind == "delayed" and post.row == before


def test_what_was_relayed_is_no_longer_unknown() -> None:
    post = Post()
    post.lose()
    raw = bounce(post, "postfix-person-1", KEYS).replace(b"Action: delivered", b"Action: relayed")
    assert take(post, raw).kind == "relayed"
    assert post.row.status == "sent" and post.told == ["unknown", "sent"]
    before = post.row
    take(post, raw)
    assert post.row == before


@pytest.mark.parametrize("raw", [b"", b"hello", (SAMPLES / "postfix-gmail.eml").read_bytes()])
def test_what_names_no_message_of_ours_is_nobodys(post: Post, raw: bytes) -> None:
    before = post.row
    assert take(post, raw) == Heard("unknown", reason=NOT_OURS)
    assert post.row == before


def test_an_out_of_office_reply_to_a_token_changes_nothing(post: Post) -> None:
    verp = render.ReturnPath("b@bounces.shop.example").to(post.row.message_id, KEYS)
    before = post.row
    heard = take(post, (SAMPLES / "vacation.eml").read_bytes(), verp)
    assert heard == Heard("unknown", post.row.message_id, True, reason=NOT_READ) and post.row == before


def test_a_server_without_keys_still_reads(post: Post) -> None:
    heard = post.crank.call(TakeMail(bounce(post, keys=KEYS), "", None))
    assert (heard.kind, heard.proven, heard.suppressed) == ("bounced", False, False)


@pytest.mark.parametrize("seed", seeds(1))
def test_no_forgery_ever_stops_anybody_however_it_is_damaged(post: Post, seed: int) -> None:
    """And what is signed stops the address of its message, never another."""
    chance = random.Random(seed)
    forged = [bounce(post), bounce(post, keys=OTHER), complaint(post), complaint(post, OTHER)]
    signed = [bounce(post, keys=KEYS), bounce(post, "postfix-policy", KEYS), complaint(post, KEYS)]
    for pool in (forged, signed):
        for _ in range(200):
            raw = bytearray(chance.choice(pool))
            for _ in range(chance.randrange(4)):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            heard = take(post, bytes(raw), chance.choice(("", "bounce@shop.example", ADDRESS)))
            assert heard.message_id in ("", post.row.message_id)
        assert {one.address for one in post.store.suppressions()[0]} <= ({ADDRESS} if pool is signed else set())
