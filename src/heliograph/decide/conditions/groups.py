"""all, any, not: two-valued logic over conditions."""

from typing import Any

import msgspec

from heliograph.decide.conditions.model import Condition, Explanation, Leaf, View, content_id, turns_at


class Group(msgspec.Struct, frozen=True):
    """Several conditions as one.  ``leaves``: those of all its parts, each id once."""

    id: str
    kind: str
    text: str
    canonical: list[Any]
    parts: tuple[Condition, ...]
    leaves: tuple[Leaf, ...]
    timed: bool

    def truth(self, view: View, t: int) -> bool:
        raise NotImplementedError

    def next_flip(self, view: View, t: int) -> int | None:
        if not self.timed:
            return None
        earliest = None
        for part in self.parts:  # a generator costs more than what it asks
            if part.timed and (edge := part.next_flip(view, t)) is not None and (earliest is None or edge < earliest):
                earliest = edge
        return earliest

    def explain(self, view: View, t: int) -> Explanation:
        return Explanation(
            text=self.text,
            truth=self.truth(view, t),
            kind=self.kind,
            turns_at=turns_at(self, view, t),
            parts=tuple(part.explain(view, t) for part in self.parts),
        )


class All(Group, frozen=True):
    def truth(self, view: View, t: int) -> bool:
        for part in self.parts:  # noqa: SIM110 - a generator costs more than what it asks
            if not part.truth(view, t):
                return False
        return True


class AnyOf(Group, frozen=True):
    def truth(self, view: View, t: int) -> bool:
        for part in self.parts:  # noqa: SIM110 - a generator costs more than what it asks
            if part.truth(view, t):
                return True
        return False


class Not(Group, frozen=True):
    def truth(self, view: View, t: int) -> bool:
        return not self.parts[0].truth(view, t)

    def next_flip(self, view: View, t: int) -> int | None:
        return self.parts[0].next_flip(view, t)


GROUPS: dict[str, type[Group]] = {"all": All, "any": AnyOf, "not": Not}


def make_group(kind: str, parts: list[Condition]) -> Group:
    """``kind`` of :data:`GROUPS`; ``not`` takes exactly one part.  Order and repeats of parts do not change the id."""
    forms = {msgspec.json.encode(part.canonical): part.canonical for part in parts}
    canonical = [kind, [forms[key] for key in sorted(forms)]]
    leaves = {leaf.id + leaf.text: leaf for part in parts for leaf in part.leaves}
    return GROUPS[kind](
        id=content_id(canonical),
        kind=kind,
        text=_text(kind, parts),
        canonical=canonical,
        parts=tuple(parts),
        leaves=tuple(leaves.values()),
        timed=any(part.timed for part in parts),
    )


def _text(kind: str, parts: list[Condition]) -> str:
    if kind == "not":
        return f"not ({parts[0].text})"
    return (" and " if kind == "all" else " or ").join(
        f"({part.text})" if isinstance(part, Group) and part.kind != "not" else part.text for part in parts
    )
