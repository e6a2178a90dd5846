"""What people write for a window of time, in ms."""

from heliograph.decide.times import parse_duration
from heliograph.events.instants import parse_instant


def window(since: str, until: str | None, now: int) -> tuple[int, int]:
    """[since, until): ``until`` is an instant or a duration before ``now``, ``since`` an instant or a duration before
    ``until``; :class:`ValueError` with a sentence."""
    end = now if until is None else min(_place(until, now, "until"), now)
    start = _place(since, end, "since")
    if start >= end:
        raise ValueError("the window is empty: `since` is not before `until`")
    return start, end


def _place(text: str, before: int, name: str) -> int:
    if text.startswith("P"):
        return before - duration_ms(text, name)
    at = parse_instant(text)
    if at is None:
        raise ValueError(f"`{name}` is a duration like P30D or an instant like 2026-05-01T00:00:00Z, not {text!r}")
    return at


def duration_ms(text: str, name: str) -> int:
    try:
        length = parse_duration(text).ms
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None
    if length <= 0:
        raise ValueError(f"`{name}` is longer than nothing")
    return length
