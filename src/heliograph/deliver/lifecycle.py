"""The life of a message, as data.

::

    deferred --decide--> queued --claim--> claimed --go--> sending --sent--> sent --deliver--> delivered
        ^                  |  ^               |               |
        +------ miss ------+--+--- release ---+---- retry ----+--> bounced | unknown | expired
                                              (miss, too)

``claimed`` lives in memory only (embedded: the mailer's socket is the lease) and is shown as ``queued``.  Behind ``go``
lies the commit point: a cancel before it always wins, one after it is recorded as ``cancel_too_late``.  A message that
was ``sending`` when its mailer or the engine died becomes ``unknown``, never ``queued``: SMTP has no transaction.

``miss``: its ``not_after`` (the end of its freshness, or the next quiet hours) came before its commit point, or comes
before the attempt after a 4yz.  No rule here says what follows: the message goes back to its person, and ``step``
decides in the same commit whether it is stale, waits for another hour or is queued again.
"""

from collections.abc import Mapping
from typing import Final

STATUSES: Final[Mapping[str, str]] = {
    "queued": "decided, waiting for a mailer, or after a 4yz for its next attempt (the reply is the reason)",
    "deferred": "held back by a cap, by quiet hours or to be compared with others (the reason says which)",
    "claimed": "with a mailer, not yet past its commit point",
    "sending": "past its commit point, no outcome yet",
    "sent": "our relay answered 250",
    "delivered": "the recipient's server took it, as feedback tells",
    "bounced": "refused for good: a 5yz reply, or a bounce later",
    "unknown": "the final dot was written and its reply never read",
    "cancelled": "stopped before its commit point: an exit, a withdrawn consent, a suppression",
    "expired": "too old to be worth sending, or its retries are spent",
    "skipped": "decided against, with the reason",
}
"""Every status and what it means (contract, section 7; ``claimed`` is never shown)."""

_STOPS: Final = {"cancel": "cancelled", "expire": "expired", "skip": "skipped"}

TRANSITIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "deferred": {"decide": "queued", **_STOPS},
    "queued": {"claim": "claimed", "miss": "deferred", **_STOPS},
    "claimed": {"go": "sending", "release": "queued", "retry": "queued", "miss": "deferred", **_STOPS},
    "sending": {
        "sent": "sent",
        "bounce": "bounced",
        "retry": "queued",
        "miss": "deferred",
        "lose": "unknown",
        "expire": "expired",
    },
    "sent": {"deliver": "delivered", "bounce": "bounced"},
    "delivered": {"bounce": "bounced"},
    "unknown": {"sent": "sent", "deliver": "delivered", "bounce": "bounced", "resend": "queued"},
    "bounced": {},
    "cancelled": {},
    "expired": {},
    "skipped": {},
}
"""status -> signal -> next status.  What is not here cannot happen: the signal is ignored and counted."""

SIGNALS: Final[Mapping[str, str]] = {
    "sent": "sent",
    "retry": "retry",
    "bounced": "bounce",
    "unknown": "lose",
    "skipped": "skip",
    "missed": "miss",
}
"""The ``kind`` that a mailer reports (:class:`heliograph.runtime.mailwire.Done`) -> the signal.  ``stopped`` has none:
the verdict that stopped it has already said what it became."""

MISSED: Final = "missed"
"""The outcome of a ``miss``, and its reason where nobody gave another."""
UNFINISHED: Final = frozenset({"queued", "deferred", "claimed", "sending"})
"""What a restart has to pick up."""
CANCELLABLE: Final = frozenset(status for status, moves in TRANSITIONS.items() if "cancel" in moves)
"""A cancel still wins here."""


def advance(status: str, signal: str) -> str | None:
    """The next status, or ``None`` when this signal means nothing here any more."""
    return TRANSITIONS[status].get(signal)


def shown(status: str) -> str:
    """The status as the API says it."""
    return "queued" if status == "claimed" else status
