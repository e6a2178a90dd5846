"""The leaves ``in_segment``, ``in_topic`` and ``everyone``: they read what others decided and keep no state."""

from heliograph.decide.conditions.model import Leaf, View, content_id
from heliograph.decide.times import iso


class InSegment(Leaf, frozen=True, kw_only=True):
    """Member of a segment or of an imported list: one name space."""

    name: str

    def truth(self, view: View, t: int) -> bool:
        return self.name in view.members

    def seen(self, view: View, t: int) -> str:
        since = view.members.get(self.name)
        return "not a member" if since is None else f"a member since {iso(since)}"


class InTopic(Leaf, frozen=True, kw_only=True):
    """Has given consent to a topic, or a topic assumes it."""

    name: str

    def truth(self, view: View, t: int) -> bool:
        return view.consent(self.name)

    def seen(self, view: View, t: int) -> str:
        return "consent given or assumed" if view.consent(self.name) else "no consent"


class Everyone(Leaf, frozen=True, kw_only=True):
    """True."""

    def truth(self, view: View, t: int) -> bool:
        return True


def make_in_segment(name: str) -> InSegment:
    canonical = ["in_segment", name]
    return InSegment(
        id=content_id(canonical),
        kind="in_segment",
        text=f'is in "{name}"',
        canonical=canonical,
        segments=frozenset({name}),
        name=name,
    )


def make_in_topic(name: str) -> InTopic:
    canonical = ["in_topic", name]
    return InTopic(
        id=content_id(canonical),
        kind="in_topic",
        text=f'consents to "{name}"',
        canonical=canonical,
        topics=frozenset({name}),
        name=name,
    )


EVERYONE = Everyone(id=content_id(["everyone"]), kind="everyone", text="everyone", canonical=["everyone"])
