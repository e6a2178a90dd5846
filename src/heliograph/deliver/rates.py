"""Rates as people write them: ``100/s``, ``50000/d``."""

from typing import Final

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def per_second(text: str) -> float:
    """Of ``100/s``, ``/m``, ``/h`` or ``/d``; 0 for an empty text, which means no limit.  ValueError for another."""
    if not text:
        return 0.0
    count, _, unit = text.partition("/")
    if not count.isdigit() or unit not in SECONDS:
        raise ValueError(f"a rate is like 100/s (or /m, /h, /d), not {text!r}")
    return int(count) / SECONDS[unit]
