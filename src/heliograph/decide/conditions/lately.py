"""Leaves that ask only whether something happened lately: ``engaged`` here, ``near`` in ``places``.

Their state is the latest instant at which it happened: one integer, whose merge is the greater one.
"""

from typing import Any, Final

import msgspec

from heliograph.decide import times
from heliograph.decide.conditions.filters import make_filter
from heliograph.decide.conditions.model import Leaf, View, content_id
from heliograph.decide.parsing import Context, JsonPath
from heliograph.events.event import Event

BEGINNING: Final = -(1 << 62)
"""Ms before every event."""
END: Final = 1 << 62
"""Ms after every event."""


class Lately(Leaf, frozen=True, kw_only=True):
    """True at t iff ``t - within < latest <= t``; ``within`` (ms) None means ever."""

    within: int | None

    def concerns(self, event: Event) -> bool:
        """Whether this event is one of those meant; total."""
        raise NotImplementedError

    def observe(self, old: Any, event: Event, event_hash: int) -> Any:
        at = event.occurred_at
        return at if (old is None or at > old) and self.concerns(event) else old

    def read_state(self, state: Any) -> None:
        msgspec.convert(state, int)

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return max(a, b)

    def until(self, state: Any) -> int:
        """True before this instant, if nothing else happens."""
        if state is None:
            return BEGINNING
        until: int = END if self.within is None else state + self.within
        return until

    def truth(self, view: View, t: int) -> bool:
        latest = view.conditions.get(self.id)
        return latest is not None and (self.within is None or latest > t - self.within)

    def next_flip(self, view: View, t: int) -> int | None:
        latest = view.conditions.get(self.id)
        if latest is None or self.within is None:
            return None
        edge: int = latest + self.within
        return edge if edge > t else None

    def seen(self, view: View, t: int) -> str:
        latest = view.conditions.get(self.id)
        return "never" if latest is None else f"latest {times.iso(latest)}"


# -- engaged --

ENGAGEMENTS: Final = {
    "received": ("Email Sent", "Email Delivered"),
    "opened": ("Email Opened",),
    "clicked": ("Email Clicked",),
}
"""What counts as each kind.  Openings and clicks of machines never become these events."""
_PHRASES: Final = {"received": "was sent a mail", "opened": "opened a mail", "clicked": "clicked in a mail"}


class Engaged(Lately, frozen=True, kw_only=True):
    """Received, opened or clicked any mail."""

    def concerns(self, event: Event) -> bool:
        return event.name in self.event_names


def make_engaged(kind: str, within: int | None) -> Engaged:
    """``kind`` of :data:`ENGAGEMENTS`.  One that means a single event shares the state of ``did`` with that event."""
    names = ENGAGEMENTS[kind]
    state = ["did", make_filter(names[0], []).canonical, None, 1] if len(names) == 1 else ["engaged", kind]
    return Engaged(
        id=content_id(state),
        kind="engaged",
        text=_PHRASES[kind] + ("" if within is None else f" within {times.describe(within)}"),
        canonical=["engaged", kind, within],
        event_names=frozenset(names),
        timed=within is not None,
        within=within,
    )


def read_engaged(node: Any, path: JsonPath, context: Context) -> Engaged | None:
    """``{kind: clicked, within: P90D}``; None after noting why not."""
    before = len(context.problems)
    fields = context.mapping(node, path, "`engaged`", ("kind", "within"), required=("kind",)) or {}
    kind = context.choice(fields["kind"], (*path, "kind"), "`kind`", ENGAGEMENTS) if "kind" in fields else None
    within = read_within(fields, path, context)
    return None if kind is None or len(context.problems) > before else make_engaged(kind, within)


def read_within(fields: dict[str, Any], path: JsonPath, context: Context) -> int | None:
    """The ms of ``within`` where it is written."""
    if "within" not in fields:
        return None
    within = context.duration(fields["within"], (*path, "within"), "`within`")
    return within.ms if within else None
