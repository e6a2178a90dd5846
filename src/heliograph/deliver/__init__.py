"""HOW IT TRAVELS: the life of a message, retries, what replies mean, the commit point.  Pure policy."""

from heliograph.deliver.commit import Stop, decide
from heliograph.deliver.lifecycle import STATUSES, advance, shown
from heliograph.deliver.replies import condemns_address, outcome, parse
from heliograph.deliver.retry import RetryPolicy, next_attempt, spent

__all__ = [
    "STATUSES", "RetryPolicy", "Stop", "advance", "condemns_address", "decide", "next_attempt", "outcome", "parse",
    "shown", "spent",
]  # fmt: skip
