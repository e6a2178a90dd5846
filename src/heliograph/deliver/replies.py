"""What an SMTP reply means for a message and for its address.

Two questions, answered apart: does the *message* go on (:func:`outcome`), and is the *address* dead
(:func:`condemns_address`)?  A reply about the sender, its reputation or the content must never suppress a recipient,
so the second answer is a short literal table and everything unknown is "no".

Codes: RFC 5321, 4.2 (basic), RFC 3463 and the IANA registry of enhanced codes, RFC 7505 (null MX).
"""

import re
from typing import Final

import msgspec

SESSION_FAULTS: Final = frozenset({503, 530, 534, 535, 538})
"""5yz codes that refuse our session (log in first, use TLS, wrong order), not this message: the settings are wrong,
bouncing every message for that would lose them all.  RFC 4954, section 6; RFC 3207, section 4."""

DEAD_ADDRESS: Final = {
    "5.1.1": "mailbox unknown",
    "5.1.2": "no such domain",
    "5.1.3": "address malformed",
    "5.1.6": "mailbox has moved",
    "5.1.10": "domain takes no mail (null MX)",
}
"""Enhanced codes that condemn the address itself.  Left out on purpose: 5.2.1 and 5.2.2 (disabled for now, receiving
too fast, full), 5.4.x (routing), 5.6.x (content), 5.7.x (policy about the sender: 5.7.1, 5.7.26, 5.7.515 ...)."""

VAGUE: Final = frozenset({"", "5.0.0", "5.5.0"})
"""Enhanced codes that say nothing; then, and only then, the wording may speak."""

WORDED_CODES: Final = frozenset({550, 551, 553, 554})
"""Basic codes whose wording may speak."""

DEAD_WORDS: Final = (
    "user unknown", "unknown user", "unknown recipient", "recipient unknown", "unknown mailbox", "no such user",
    "no such mailbox", "no such recipient", "no such address", "no mailbox here by that name", "mailbox not found",
    "user not found", "recipient not found", "address not found", "user does not exist", "user doesn't exist",
    "mailbox does not exist", "recipient does not exist", "address does not exist", "account does not exist",
    "not a valid mailbox", "invalid mailbox", "account has been deleted", "user doesn't have a",
)  # fmt: skip
"""Typical wordings for "there is no such person here", lower case."""

POLICY_WORDS: Final = (
    "spam", "policy", "block", "blacklist", "reputation", "dmarc", "dkim", "spf", "authenticat", "relay", "sender",
    "denied", "rate", "too many", "virus", "content",
)  # fmt: skip
"""Wordings that show the sender or the content was meant; they overrule :data:`DEAD_WORDS`."""

_ENHANCED = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})(?=\s|$)")


class Reply(msgspec.Struct, frozen=True):
    """A reply taken apart: basic code (0 when there was none), enhanced code ("" when there was none), its words."""

    code: int
    enhanced: str
    text: str


def parse(line: str) -> Reply:
    """Take ``250 2.1.5 Ok`` apart; a line that does not begin with a code is all text."""
    code, _, rest = line.partition(" ")
    if len(code) != 3 or not (code.isascii() and code.isdigit()):
        return Reply(0, "", line)
    enhanced = enhanced_code(int(code), rest)
    return Reply(int(code), enhanced, rest.strip()[len(enhanced) :].strip())


def enhanced_code(code: int, text: str) -> str:
    """The enhanced code at the head of the text, when its class agrees with the basic code (RFC 2034), else ``""``."""
    match = _ENHANCED.match(text)
    if match is None or int(match[1]) != code // 100:
        return ""
    return f"{match[1]}.{int(match[2])}.{int(match[3])}"


def outcome(code: int) -> str:
    """``sent``, ``retry`` or ``bounced`` for a final reply with this basic code.

    Reply classes other than 2, 4 and 5 are no final reply; whoever reads the wire must not ask for them.
    """
    if 200 <= code < 300:
        return "sent"
    return "bounced" if 500 <= code < 600 and code not in SESSION_FAULTS else "retry"


def condemns_address(stage: str, code: int, enhanced: str, text: str) -> bool:
    """Must this address be suppressed (``!bounce``)?  ``stage``: mail, rcpt, data or dot.

    Only a permanent reply may, never one to MAIL, which is about the sender.
    """
    if stage == "mail" or outcome(code) != "bounced":
        return False
    if enhanced not in VAGUE:
        return enhanced in DEAD_ADDRESS and not _speaks_of_sender(text)
    return code in WORDED_CODES and _names_nobody(text) and not _has_policy_words(text)


def _names_nobody(text: str) -> bool:
    lower = text.lower()
    return any(words in lower for words in DEAD_WORDS)


def _has_policy_words(text: str) -> bool:
    lower = text.lower()
    return any(words in lower for words in POLICY_WORDS)


def _speaks_of_sender(text: str) -> bool:
    """Postfix answers ``550 5.1.1 <from>: Sender address rejected: User unknown`` to RCPT, about the sender."""
    return "sender" in text.lower()
