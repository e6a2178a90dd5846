"""Policies: what holds for all mail of a project (contract, section 5).

Read leniently: every problem is noted in the context with its path, and what could not be read keeps its default.
``time_scale`` does not divide these durations.
"""

from collections.abc import Mapping
from datetime import time
from typing import Any, Final

import msgspec

from heliograph.decide.parsing import Context, JsonPath, nearest
from heliograph.decide.times import DAY, HOUR, describe, is_zone, parse_clock, zone_names

IMPLICIT_TOPIC: Final = "marketing"
MAX_TOPICS: Final = 32
MAX_CAPS: Final = 16
MAX_MAX: Final = 100
"""Messages of one cap: three a day for a month; more is no cap, and people would have to remember them all."""
MAX_PER: Final = 31 * DAY
"""How long a sent message is remembered at most."""
MAX_DEFER: Final = 31 * DAY
MAX_ARBITRATE: Final = DAY

KEYS: Final = frozenset(
    {"topics", "act_within", "allowed_lateness", "caps", "quiet_hours", "arbitrate", "global_holdout"}
)


class Cap(msgspec.Struct, frozen=True):
    """At most ``max`` marketing messages in any ``per_ms``.  ``topics`` None: of all topics together.  ``defer_ms``:
    how long a message may wait for its turn, counted from when it was first decided; 0: it is skipped at once."""

    max: int
    per_ms: int
    topics: frozenset[str] | None = None
    defer_ms: int = 0

    @property
    def text(self) -> str:
        return f"{self.max} per {describe(self.per_ms)}"

    def covers(self, topic: str) -> bool:
        return self.topics is None or topic in self.topics


class QuietHours(msgspec.Struct, frozen=True):
    """No marketing mail begins while clocks in ``zone`` (``person``, ``project`` or an IANA name) show a time from
    ``start`` to just before ``end``; past midnight when ``start`` is the later one."""

    start: time
    end: time
    zone: str


class Policies(msgspec.Struct, frozen=True):
    """``arbitrate_ms``: how long the first message under a cap waits for better ones, 0 for not at all.
    ``global_holdout``: the share of people, in [0, 1), who get no marketing mail from any journey."""

    act_within_ms: int = HOUR
    allowed_lateness_ms: int = 3 * DAY
    caps: tuple[Cap, ...] = ()
    quiet_hours: QuietHours | None = None
    arbitrate_ms: int = 0
    global_holdout: float = 0.0

    def caps_on(self, topic: str) -> tuple[Cap, ...]:
        """Those that a message on this topic counts under."""
        return tuple(cap for cap in self.caps if cap.covers(topic))


def read_policies(node: Mapping[str, Any], context: Context) -> Policies:
    """The policies of a plan document; its topics go to ``context.topics``."""
    keys = context.mapping(node, ("policies",), "`policies`", KEYS) or {}
    reader = _Reader(keys, context)
    reader.topics()
    return Policies(
        act_within_ms=reader.duration("act_within", Policies().act_within_ms),
        allowed_lateness_ms=reader.duration("allowed_lateness", Policies().allowed_lateness_ms),
        caps=reader.caps(),
        quiet_hours=reader.quiet_hours(),
        arbitrate_ms=reader.arbitrate(),
        global_holdout=reader.holdout(),
    )


class _Reader:
    def __init__(self, keys: dict[str, Any], context: Context) -> None:
        self.keys = keys
        self.context = context

    def duration(self, name: str, default: int, *, most: int = 0, zero: bool = False) -> int:
        return self._ms(self.keys, name, ("policies",), default, most=most, zero=zero)

    def _ms(
        self, keys: dict[str, Any], name: str, path: JsonPath, default: int, *, most: int = 0, zero: bool = False
    ) -> int:
        if name not in keys:
            return default
        found = self.context.duration(keys[name], (*path, name), f"`{name}`", zero=zero, scaled=False)
        if found is None:
            return default
        if most and found.ms > most:
            self.context.problem((*path, name), f"`{name}` is at most {describe(most)}")
        return found.ms

    # -- topics --

    def topics(self) -> None:
        topics = self.keys.get("topics", {})
        if not isinstance(topics, dict) or len(topics) > MAX_TOPICS:
            self.context.problem(("policies", "topics"), f"`topics` is a mapping of at most {MAX_TOPICS} topics")
            return
        for name, node in topics.items():
            self._topic(name, node, ("policies", "topics", str(name)))

    def _topic(self, name: Any, node: Any, path: JsonPath) -> None:
        keys = self.context.mapping(node, path, "a topic", ("consent",), required=("consent",)) or {}
        if not isinstance(name, str) or name.startswith("!"):
            self.context.problem(path, "the name of a topic is text and does not begin with `!`")
            return
        rule = keys.get("consent", "required")
        self.context.topics[name] = (
            self.context.choice(rule, (*path, "consent"), "`consent`", ("required", "assumed")) or "required"
        )

    # -- caps --

    def caps(self) -> tuple[Cap, ...]:
        path: JsonPath = ("policies", "caps")
        items = self.context.sequence(self.keys.get("caps", []), path, "`caps`", least=0, most=MAX_CAPS) or []
        found = (self._cap(item, (*path, at)) for at, item in enumerate(items))
        return tuple(cap for cap in found if cap is not None)

    def _cap(self, node: Any, path: JsonPath) -> Cap | None:
        known = ("max", "per", "topics", "when_exceeded", "defer_for")
        keys = self.context.mapping(node, path, "a cap", known, required=("max", "per"))
        if keys is None or "max" not in keys or "per" not in keys:
            return None
        limit = self.context.integer(keys["max"], (*path, "max"), "`max`", 1, MAX_MAX)
        per_ms = self._ms(keys, "per", path, 0, most=MAX_PER)
        rule = keys.get("when_exceeded", "defer" if "defer_for" in keys else "skip")
        rule = self.context.choice(rule, (*path, "when_exceeded"), "`when_exceeded`", ("defer", "skip"))
        if rule == "skip" and "defer_for" in keys:
            self.context.problem((*path, "defer_for"), "`defer_for` needs `when_exceeded: defer`")
        if rule == "defer" and "defer_for" not in keys:
            self.context.problem(path, "`when_exceeded: defer` needs `defer_for`: how long a message may wait")
        defer_ms = self._ms(keys, "defer_for", path, 0, most=MAX_DEFER)
        topics = self._cap_topics(keys["topics"], (*path, "topics")) if "topics" in keys else None
        return Cap(limit, per_ms, topics, defer_ms) if limit is not None and per_ms else None

    def _cap_topics(self, node: Any, path: JsonPath) -> frozenset[str]:
        names = self.context.sequence(node, path, "`topics`", most=MAX_TOPICS) or []
        for at, name in enumerate(names):
            topic = self.context.text(name, (*path, at), "a topic")
            if topic is not None and topic not in self.context.topics:
                hint = nearest(topic, self.context.topics)
                self.context.problem((*path, at), f"there is no topic {topic!r}", hint)
        return frozenset(name for name in names if isinstance(name, str))

    def arbitrate(self) -> int:
        if "arbitrate" in self.keys and not self.keys.get("caps"):
            self.context.warn(("policies", "arbitrate"), "without `caps` there is nothing to compare messages for")
        return self.duration("arbitrate", 0, most=MAX_ARBITRATE, zero=True)

    # -- quiet hours and holdout --

    def quiet_hours(self) -> QuietHours | None:
        path: JsonPath = ("policies", "quiet_hours")
        if "quiet_hours" not in self.keys:
            return None
        known, required = ("from", "to", "timezone"), ("from", "to")
        keys = self.context.mapping(self.keys["quiet_hours"], path, "`quiet_hours`", known, required=required)
        if keys is None or "from" not in keys or "to" not in keys:
            return None
        start, end = (self._clock(keys[name], (*path, name), f"`{name}`") for name in required)
        zone = keys.get("timezone", "person")
        if zone not in ("person", "project") and not is_zone(zone):
            hint = nearest(zone, zone_names()) if isinstance(zone, str) else ""
            self.context.problem((*path, "timezone"), "`timezone` is person, project or an IANA name", hint)
        if start is None or end is None:
            return None
        if start == end:
            self.context.problem(path, "`from` and `to` are the same time of day: leave `quiet_hours` out")
        return QuietHours(start, end, str(zone))

    def _clock(self, node: Any, path: JsonPath, what: str) -> time | None:
        text = self.context.text(node, path, what)
        if text is None:
            return None
        try:
            return parse_clock(text)
        except ValueError as error:
            self.context.problem(path, str(error))
            return None

    def holdout(self) -> float:
        node = self.keys.get("global_holdout", "0%")
        return self.context.share(node, ("policies", "global_holdout"), "`global_holdout`") or 0.0
