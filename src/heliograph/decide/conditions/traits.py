"""The leaf ``trait``: what is known of a person, compared; dates flip by timer."""

from heliograph.decide import times
from heliograph.decide.conditions.instants import FOREVER, InstantCheck, Span
from heliograph.decide.conditions.model import Leaf, View, content_id
from heliograph.decide.conditions.operators import Check, show
from heliograph.decide.conditions.paths import Path, Test


class Trait(Leaf, frozen=True, kw_only=True):
    """All ``checks`` and all ``instants`` hold for what stands at ``path``.  Keeps no state."""

    path: Path
    checks: tuple[Check, ...]
    instants: tuple[InstantCheck, ...]
    asked: tuple[tuple[Test, bool], ...]
    """Per check: the question to the traits, and the answer that satisfies it."""

    def truth(self, view: View, t: int) -> bool:
        traits = view.traits
        for test, wanted in self.asked:
            if test(traits) is not wanted:
                return False
        if not self.instants:
            return True
        return all(any(first <= t < end for first, end in spans) for spans in self._spans(view))

    def next_flip(self, view: View, t: int) -> int | None:
        if not self.timed:
            return None
        edges = [edge for spans in self._spans(view) for span in spans for edge in span if t < edge]
        earliest = min(edges, default=None)
        return earliest if earliest != FOREVER else None

    def seen(self, view: View, t: int) -> str:
        return show(self.path.read(view.traits))

    def _spans(self, view: View) -> list[list[Span]]:
        zone = times.zone_or_utc(view.timezone)
        value = self.path.read(view.traits)
        return [check.spans(value, zone) for check in self.instants]


def make_trait(path: Path, checks: list[Check], instants: list[InstantCheck]) -> Trait:
    """The leaf for these operators on one path."""
    canonical = [
        "trait",
        path.canonical,
        sorted([*(check.canonical for check in checks), *(check.canonical for check in instants)], key=repr),
    ]
    said = " and ".join([*(check.text for check in checks), *(check.text for check in instants)])
    return Trait(
        id=content_id(canonical),
        kind="trait",
        text=f"{path.text} {said}",
        canonical=canonical,
        trait_names=frozenset({path.keys[0] or "*", *(["timezone"] if instants else [])}),
        timed=any(check.timed for check in instants),
        path=path,
        checks=tuple(checks),
        instants=tuple(instants),
        asked=tuple((path.asks(check.test), not check.negated) for check in checks),
    )
