"""Ingest limits per write key: a token bucket that counts events, not requests."""

import math
import re

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|sec|second|m|min|minute|h|hour)\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_rate(text: str) -> float:
    """Events per second of ``"2000/s"``, ``"500/min"``, ``"1e6"``-free text; :class:`ValueError` with a sentence."""
    match = _RATE.fullmatch(text)
    if not match or float(match[1]) <= 0:
        raise ValueError(f'collect.rate_limit must look like "2000/s" (or /min, /h), not {text!r}')
    return float(match[1]) / _SECONDS[match[2][0]]


class RateLimiter:
    """One bucket per key, one second deep.

    A request is admitted while its bucket holds anything, and may overdraw it: a full batch of 2,500 passes a limit of
    2,000/s and is paid for by the wait that follows.  Over any time the rate holds; no request is too big for ever.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._depth = max(1.0, per_second)
        self._buckets: dict[str, tuple[float, int]] = {}

    def take(self, key: str, events: int, now: int) -> int:
        """0 when these events may pass, else the whole seconds after which to try again.  ``now`` in ms."""
        tokens, since = self._buckets.get(key, (self._depth, now))
        tokens = min(self._depth, tokens + max(0, now - since) / 1000 * self.per_second)
        if tokens < 1:
            self._buckets[key] = (tokens, now)
            return max(1, math.ceil((1 - tokens) / self.per_second))
        self._buckets[key] = (tokens - events, now)
        return 0
