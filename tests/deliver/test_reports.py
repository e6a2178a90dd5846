"""Bounces and complaints by the standards: real ones, those of the RFCs, and whatever else somebody may send."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.deliver.replies import Reply
from heliograph.deliver.reports import (
    MAX_NAMES,
    MAX_PARTS,
    MAX_RECIPIENTS,
    Recipient,
    condemns,
    finding,
    read,
    reply_of,
)
from tests.seeds import seeds

SAMPLES = Path(__file__).parent / "reports"
VERP = f"bounce+{'TOKEN' * 9}@bounces.shop.example"

OUTER = b"Content-Type: multipart/report; boundary=a\n\n"
STATUS = b"--a\nContent-Type: message/delivery-status\n\n"


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.eml").read_bytes()


@pytest.mark.parametrize(
    ("name", "address", "kind", "status", "dead"),
    [
        ("postfix-gmail", "gmail@remote.example", "bounced", "5.1.1", True),
        ("postfix-gone-1", "gone-1@people.example", "bounced", "5.1.1", True),
        ("postfix-policy", "policy@remote.example", "bounced", "5.7.26", False),
        ("postfix-full", "full@remote.example", "bounced", "5.2.2", False),
        ("postfix-vague", "vague@remote.example", "bounced", "5.0.0", False),
        ("postfix-person-1", "person-1@people.example", "delivered", "2.0.0", False),
        ("rfc3464-simple", "louisl@larry.slip.umd.edu", "bounced", "4.0.0", False),
        ("rfc3464-delayed", "thomas@de-montfort.ac.uk", "delayed", "4.0.0", False),
        ("rfc3464-several", "johnh@hpnjld.njd.hp.com", "delayed", "4.0.0", False),
        ("rfc3464-several", "wsnell@sdcc13.ucsd.edu", "bounced", "5.0.0", True),
        ("rfc3464-several", "arathib@vnet.ibm.com", "bounced", "5.0.0", False),
    ],
)
def test_a_notification_says_what_became_of_one_recipient(
    name: str, address: str, kind: str, status: str, dead: bool
) -> None:
    report = read(sample(name))
    about = finding(report, address.upper())
    assert report.kind == "dsn" and about is not None
    assert (about.kind, about.status, condemns(about, address)) == (kind, status, dead)
    assert not condemns(about, "somebody.else@remote.example"), "whoever forwards mail has a living address"


@pytest.mark.parametrize("name", ["postfix-gmail", "postfix-person-1"])
def test_everything_that_may_name_the_message_is_found(name: str) -> None:
    report = read(sample(name), recipient="envelope@bounces.shop.example")
    assert report.addresses == ("envelope@bounces.shop.example", VERP)
    assert report.message_ids[0].startswith("d" * 25) and len(report.message_ids[0]) == 26
    if name == "postfix-person-1":
        assert report.message_ids[1:] == ("mymail+1",), "the envelope id, if somebody gave one"


def test_a_complaint_names_its_message_by_what_it_returns() -> None:
    report = read(sample("rfc5965-abuse"))
    assert report.kind == "complained" and not report.recipients
    assert set(report.addresses) == {"abuse@example.net", "somespammer@example.net", "bounce@mail.shop.example"}
    assert report.links == ("A" * 32,) and report.message_ids == ("b" * 26,)


@pytest.mark.parametrize(
    ("said", "kind"),
    [("abuse", "complained"), ("Fraud", "complained"), ("not-spam", "not_spam"), ("virus", "unknown"), ("", "unknown")],
)
def test_only_a_person_complains(said: str, kind: str) -> None:
    raw = sample("rfc5965-abuse").replace(b"Feedback-Type: abuse", b"Feedback-Type: " + said.encode())
    assert read(raw).kind == kind


@pytest.mark.parametrize("name", ["qmail", "vacation"])
def test_what_is_no_standard_is_never_guessed_at(name: str) -> None:
    report = read(sample(name))
    assert report.kind == "unknown" and report.addresses == ("bounce@mail.shop.example",)


@pytest.mark.parametrize(
    ("recipient", "kind"),
    [
        (Recipient("failed", "2.0.0"), "unknown"),
        (Recipient("delivered", "5.1.1"), "unknown"),
        (Recipient("delayed", "2.0.0"), "unknown"),
        (Recipient("exploded", "5.1.1"), "unknown"),
        (Recipient("failed"), "bounced"),
        (Recipient("relayed", "2.1.9"), "relayed"),
        (Recipient("expanded", "2.1.5"), "delivered"),
    ],
)
def test_what_contradicts_itself_is_unknown(recipient: Recipient, kind: str) -> None:
    assert recipient.kind == kind


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        (Recipient("failed", "5.0.0", diagnostic="550-5.1.1 no 550 5.1.1 such", smtp=True), "5.1.1"),
        (Recipient("failed", "5.1.1", diagnostic="550 blocked by a list", smtp=True), ""),
        (Recipient("failed", "5.1.1", diagnostic="user unknown"), "5.1.1"),
        (Recipient("failed", "5.1.1", diagnostic="lost", smtp=True), "5.1.1"),
    ],
)
def test_the_remote_reply_is_believed_before_the_status(recipient: Recipient, reply: str) -> None:
    """sendmail writes 5.1.1 for any 550, also when the reply was about the sender."""
    assert reply_of(recipient).enhanced == reply
    assert isinstance(reply_of(recipient), Reply)


def test_a_blocked_sender_never_condemns() -> None:
    about = Recipient("failed", "5.1.1", "ann@example.com", diagnostic="550 Message blocked as spam", smtp=True)
    assert not condemns(about, "ann@example.com")
    assert condemns(Recipient("failed", "5.1.1", "ann@EXAMPLE.com"), "ann@example.com")
    assert condemns(Recipient("failed", "5.1.1", "x@internal", original="ann@example.com"), "ann@example.com")


def test_encoded_parts_are_decoded() -> None:
    """Some servers encode what RFC 3464 wants plain."""
    raw = b"""Content-Type: multipart/report; boundary=b

--b
Content-Type: message/delivery-status
Content-Transfer-Encoding: base64

UmVwb3J0aW5nLU1UQTogZG5zOyBhCgpGaW5hbC1SZWNpcGllbnQ6IHJmYzgyMjsgYUBiLmV4YW1wbGUKQWN0
aW9uOiBmYWlsZWQKU3RhdHVzOiA1LjEuMQo=
--b
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: quoted-printable

Message-ID: =3Caaa@shop.example>
--b--
"""
    report = read(raw)
    assert report.recipients == (Recipient("failed", "5.1.1", "a@b.example"),)
    assert report.message_ids == ("aaa",)


def test_boundaries_that_begin_alike_are_told_apart() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/report; boundary=bb\n\n"
        b"--bb\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nAction: failed\n--bb--\n--b--\n"
    )
    assert [one.action for one in read(raw).recipients] == ["failed"]


def test_returned_mail_is_not_searched_for_reports() -> None:
    """Somebody's forwarded bounce is not a bounce."""
    inner = sample("postfix-gmail")
    raw = b"To: b@shop.example\nContent-Type: multipart/mixed; boundary=zz\n\n--zz\nContent-Type: message/rfc822\n\n"
    assert read(raw + inner + b"\n--zz--\n").kind == "unknown"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"Content-Type: multipart/report\n\n--\n",
        b"Content-Type: multipart/report; boundary=\xff\xfe\n\n--\xff\xfe\n",
        OUTER + b"--a\n" + OUTER * 9_000,
        OUTER + (STATUS + b"Action: failed\n") * 9_000,
        OUTER + STATUS + b"Action: failed\n\n" * 9_000,
        b"To: " + b"a@b.example," * 20_000,
        b"To: a@b\n" * 30_000,
        b" \n" * 100_000,
        b"\n--a" * 60_000,
        b"x" * 10_000_000,
        OUTER + b"--a" + b" " * 200_000 + b"x",
        b"To:" + b"<" * 200_000,
        bytes(range(256)) * 1_000,
    ],
)
def test_hostile_mail_is_bounded_and_raises_nothing(raw: bytes) -> None:
    report = read(raw)
    assert len(report.recipients) <= min(MAX_RECIPIENTS, MAX_PARTS * MAX_RECIPIENTS)
    assert len(report.addresses) <= MAX_NAMES and len(report.links) <= MAX_NAMES
    finding(report, "a@b.example")


@pytest.mark.parametrize("seed", seeds(1))
def test_damaged_reports_never_raise_and_never_condemn_anybody_else(seed: int) -> None:
    chance = random.Random(seed)
    samples = [file.read_bytes() for file in sorted(SAMPLES.glob("*.eml"))]
    for _ in range(2_000):
        raw = bytearray(chance.choice(samples))
        for _ in range(chance.randrange(1, 20)):
            _damage(raw, chance)
        report = read(bytes(raw), "x" * chance.randrange(300))
        about = finding(report, "ann@example.com")
        assert about is None or not condemns(about, "ann@example.com"), seed


def _damage(raw: bytearray, chance: random.Random) -> None:
    at, length = chance.randrange(len(raw)), chance.randrange(40)
    match chance.randrange(4):
        case 0:
            raw[at] = chance.randrange(256)
        case 1:
            del raw[at : at + length]
            raw += b" "
        case 2:
            raw[at:at] = raw[at : at + length]
        case _:
            raw[at:at] = chance.choice((b"\n\n", b"\n--", b"\r", b"\0", b";", b"=?utf-8?q?=ff?=", b"\xf0\x9f"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2_000), st.text(max_size=300))
def test_any_bytes_are_a_report_of_some_kind(raw: bytes, recipient: str) -> None:
    assert read(raw, recipient).kind in ("dsn", "complained", "not_spam", "unknown")
