"""When to try again after a 4yz reply or a broken connection, and when to give up.

The delay doubles from :attr:`RetryPolicy.first_ms` up to :attr:`RetryPolicy.longest_ms`.  Its jitter hashes (message,
attempt), so that a thousand messages refused in one second do not come back in one second, and a replay computes the
same instants.
"""

import msgspec

from heliograph.events.ids import share

SECOND = 1000
HOUR = 3600 * SECOND


class RetryPolicy(msgspec.Struct, frozen=True):
    """Bounds of trying again; times in ms.

    15 s, 30 s, 1, 2, 4, 8, 16, 32 min, then hourly: 32 attempts are about 24 hours.  A relay refuses for seconds
    (greylisting, rate limits) or for hours (outages); RFC 5321, 4.5.4.1 asks days of a relay, which has taken the
    message for good; a campaign's message is stale long before, and its ``not_after`` ends it earlier still.
    """

    first_ms: int = 15 * SECOND
    longest_ms: int = HOUR
    attempts: int = 32
    jitter: float = 0.2
    """Share of the delay by which it may be longer or shorter."""


DEFAULT = RetryPolicy()


def delay_ms(message_id: str, attempt: int, policy: RetryPolicy = DEFAULT) -> int:
    """Milliseconds between the failure of this attempt (counting from 1) and the next attempt."""
    doublings = min(attempt - 1, 62)
    nominal = min(policy.first_ms << doublings, policy.longest_ms)
    spread = policy.jitter * (2 * share("retry", message_id, attempt) - 1)
    return round(nominal * (1 + spread))


def next_attempt(message_id: str, attempt: int, now: int, policy: RetryPolicy = DEFAULT) -> int | None:
    """The instant (ms) of the attempt after this one, or ``None`` when retries are spent."""
    return None if attempt >= policy.attempts else now + delay_ms(message_id, attempt, policy)


def spent(reply: str) -> str:
    """The reason of a message that expires because its retries are spent."""
    return f"retries spent: {reply}"
