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

``unknown`` is left in one of three ways: what comes back shows that it arrived (``prove``, ``deliver``) or never did
(``bounce``), somebody settles it by hand (``sent``, ``drop``), or it is sent again (``resend``).  A late 250 is none of
them: the connection it would have come on is gone.  Evidence also ends a message that waits to be tried again, so that
a copy which arrived all the same is not followed by another.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

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

_EVIDENCE: Final = {"prove": "sent", "deliver": "delivered", "bounce": "bounced"}
"""Feedback about a copy; of a message that waits, only when one was tried (``attempt`` is not 0)."""

TRANSITIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "deferred": {"decide": "queued", **_STOPS, **_EVIDENCE},
    "queued": {"claim": "claimed", "miss": "deferred", **_STOPS, **_EVIDENCE},
    "claimed": {
        "go": "sending",
        "release": "queued",
        "retry": "queued",
        "miss": "deferred",
        "bounce": "bounced",  # nowhere to send it: no such domain, or one that takes no mail
        **_STOPS,
    },
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
    "unknown": {"sent": "sent", "resend": "queued", "drop": "unknown", **_EVIDENCE},
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

FEEDBACK: Final[Mapping[str, str]] = {
    "sent": "sent",
    "delivered": "deliver",
    "bounced": "bounce",
    "opened": "prove",
    "clicked": "prove",
    "complained": "prove",
    "unsubscribed": "prove",
}
"""The kind of feedback -> the signal.  What a machine opened or clicked proves nothing: it is never acted on."""


ARRIVED: Final = frozenset({"prove", "deliver"})
"""Signals of feedback that only a message which was sent can bring."""
SENT: Final = frozenset({"sent", "delivered", "bounced"})
"""A receiver is known to have answered for it."""


class Settlement(msgspec.Struct, frozen=True):
    """What somebody may do about an ``unknown`` message.  ``kind``: what is noted among its outcomes."""

    signal: str
    kind: str


SETTLEMENTS: Final[Mapping[str, Settlement]] = {
    "sent": Settlement("sent", "released"),
    "resend": Settlement("resend", "resent"),
    "drop": Settlement("drop", "dropped"),
}
"""By hand, with a reason.  ``sent``: the relay's log says that it took the message.  ``resend``: again, under the same
Message-ID, at the risk of a second copy.  ``drop``: given up; it stays ``unknown``, because that is the truth, and is
listed as settled.  Evidence that comes later still moves it."""
RESENT: Final = SETTLEMENTS["resend"].kind

MISSED: Final = "missed"
"""The outcome of a ``miss``, and its reason where nobody gave another."""
UNFINISHED: Final = frozenset({"queued", "deferred", "claimed", "sending"})
"""What a restart has to pick up."""
CANCELLABLE: Final = frozenset(status for status, moves in TRANSITIONS.items() if "cancel" in moves)
"""A cancel still wins here."""


def advance(status: str, signal: str) -> str | None:
    """The next status, or ``None`` when this signal means nothing here any more."""
    return TRANSITIONS[status].get(signal)


def proven(outcomes: Iterable[tuple[str, int, bool]]) -> bool:
    """Whether what came back, ``(kind, at, machine)``, shows that a copy arrived."""
    return any(FEEDBACK.get(kind) in ARRIVED and not machine for kind, _, machine in outcomes)


def settled(outcomes: Iterable[tuple[str, int, bool]]) -> str:
    """How an unknown message was settled by hand since it last became unknown: a key of :data:`SETTLEMENTS`, else
    ``""``."""
    found = ""
    for kind, _, _ in outcomes:
        found = "" if kind == "unknown" else _ACTIONS.get(kind, found)
    return found


_ACTIONS: Final = {one.kind: action for action, one in SETTLEMENTS.items()}


def unknown_since(outcomes: Iterable[tuple[str, int, bool]]) -> int:
    """When it last became unknown (ms), 0 for never."""
    return max((at for kind, at, _ in outcomes if kind == "unknown"), default=0)


def resends(outcomes: Iterable[tuple[str, int, bool]]) -> int:
    """How often it was sent again although a copy may have arrived."""
    return sum(kind == RESENT for kind, _, _ in outcomes)


def shown(status: str) -> str:
    """The status as the API says it."""
    return "queued" if status == "claimed" else status
