"""Replies: what becomes of the message, and is the address dead?  The second question is answered "no" in doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.replies import SESSION_FAULTS, Reply, condemns_address, outcome, parse

DEAD = [
    "550 5.1.1 The email account that you tried to reach does not exist",
    "550 5.1.1 <ada@people.example>: Recipient address rejected: User unknown in virtual mailbox table",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
    "550 5.1.2 Bad destination system",
    "551 5.1.6 moved",
    "550 No such user here",
    "550 unknown user",
    "554 delivery error: dd This user doesn't have a people.example account",
    "550 5.5.0 mailbox does not exist",
]
NOT_DEAD = [
    "550 5.7.26 This message does not have authentication information or fails to pass authentication checks",
    "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
    "550 5.7.1 user unknown to us is what spammers say",
    "550 5.2.1 The user you are trying to contact is receiving mail too quickly",
    "552 5.2.2 mailbox full",
    "550 5.4.1 Recipient address rejected: Access denied",
    "550 5.1.1 <shop@shop.example>: Sender address rejected: User unknown",
    "550 5.1.8 sender domain not found",
    "550 mailbox unavailable",
    "550 blocked by policy: no such user may mail us",
    "554 5.6.0 content",
    "450 4.1.1 user unknown for now",
    "421 4.7.28 rate limited",
    "451 4.7.1 greylisted: no such user yet",
    "250 2.1.5 Ok",
    "no such user",
]


def condemned(line: str, stage: str = "rcpt") -> bool:
    reply = parse(line)
    return condemns_address(stage, reply.code, reply.enhanced, reply.text)


@pytest.mark.parametrize("line", DEAD)
def test_an_address_that_nobody_has_is_condemned(line: str) -> None:
    assert condemned(line)


@pytest.mark.parametrize("line", NOT_DEAD)
def test_whatever_else_is_said_condemns_nobody(line: str) -> None:
    assert not condemned(line)


@pytest.mark.parametrize("line", DEAD)
def test_an_answer_to_mail_is_about_the_sender(line: str) -> None:
    assert not condemned(line, "mail")


@given(st.integers(0, 999), st.text(max_size=40))
def test_only_a_permanent_refusal_can_condemn(code: int, text: str) -> None:
    if outcome(code) != "bounced":
        assert not condemns_address("rcpt", code, "5.1.1", text)


@given(st.integers(200, 599).filter(lambda code: not 300 <= code < 400))
def test_the_class_of_the_code_decides_the_message(code: int) -> None:
    expected = {2: "sent", 4: "retry", 5: "bounced"}[code // 100]
    assert outcome(code) == ("retry" if code in SESSION_FAULTS else expected)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("250 2.1.5 Ok", Reply(250, "2.1.5", "Ok")),
        ("550 user unknown", Reply(550, "", "user unknown")),
        ("550 4.1.1 odd", Reply(550, "", "4.1.1 odd")),
        ("250", Reply(250, "", "")),
        ("the server closed the connection", Reply(0, "", "the server closed the connection")),
        ("²50 x", Reply(0, "", "²50 x")),
    ],
)
def test_a_reply_is_taken_apart(line: str, reply: Reply) -> None:
    assert parse(line) == reply
