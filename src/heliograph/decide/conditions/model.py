"""What a condition is to its users: a truth about one person at one instant, its flips by time, its explanation.

A *leaf* asks one thing and may keep a state per person; groups (all, any, not) combine leaves and keep none.  A
leaf's ``id`` is the content address of whatever determines its state, so equal leaves share one state and a leaf that
did not change keeps it across plans (design, section 6).  Every state is a set of samples cut to the ones that can
matter: observing and merging are commutative, associative and idempotent.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import msgspec

from heliograph.decide.conditions.paths import Path
from heliograph.events.event import Event
from heliograph.events.ids import make_id

if TYPE_CHECKING:
    from heliograph.decide.conditions.filters import EventFilter

ID_LENGTH: Final = 12
"""Characters (60 bits) of a leaf's id: they are keys in every person's blob; two of a million leaves collide with a
chance of one in two million."""

MAX_FLIPS: Final = 64
"""How many flips by time are looked at when asked when a condition will turn."""


Take: TypeAlias = Callable[[Any, Event, int], Any]
"""(state or None, event, 64-bit hash of its id) -> the state after it, the same object when nothing changed."""


class View(Protocol):
    """A person as conditions see them: after this record, at the instant that is passed beside it.

    ``conditions``: leaf id -> state.  ``members``: segment or list -> member since (ms).  ``timezone``: the IANA name
    that holds for this person.  ``origin``: the key under which this person was first seen, for what is drawn by lot.
    """

    @property
    def traits(self) -> dict[str, Any]: ...
    @property
    def conditions(self) -> dict[str, Any]: ...
    @property
    def members(self) -> dict[str, int]: ...
    @property
    def timezone(self) -> str: ...
    @property
    def origin(self) -> str: ...
    def consent(self, topic: str) -> bool: ...


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a condition is true or false for one person at one instant; JSON-able.

    ``text``: the condition in plain English.  ``seen``: the value that decided, in plain English.  ``turns_at``: when
    it turns to the other truth by time alone (ms), None when it never does.  ``inexact``: more happened than is kept
    one by one, and what is older than ``exact_since`` (ms) is estimated.
    """

    text: str
    truth: bool
    kind: str
    seen: str = ""
    turns_at: int | None = None
    parts: tuple["Explanation", ...] = ()
    inexact: bool = False
    exact_since: int | None = None


class Condition(Protocol):
    """A compiled condition.  ``t`` is engine time: never before an event that was observed."""

    @property
    def id(self) -> str:
        """A content address; a leaf's is that of its state."""
        ...

    @property
    def canonical(self) -> list[Any]:
        """JSON-able, equal for equal conditions."""
        ...

    @property
    def leaves(self) -> tuple["Leaf", ...]: ...

    @property
    def text(self) -> str:
        """In plain English."""
        ...

    @property
    def timed(self) -> bool:
        """Whether time alone can turn it; when not, :meth:`next_flip` is always None."""
        ...

    def truth(self, view: View, t: int) -> bool: ...

    def next_flip(self, view: View, t: int) -> int | None:
        """The earliest instant after ``t`` at which the truth may change by time alone."""
        ...

    def explain(self, view: View, t: int) -> Explanation: ...


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a person.  Leaves with equal ``id`` share their state and may be asked to observe for each
    other; what they ask of it can differ.

    ``event_names``, ``trait_names`` (top level, ``*`` for every trait), ``segments`` and ``topics`` say what can turn
    it, besides time; ``by_location``: any event that says where it happened.  ``by_lot``: holds or not for somebody of
    whom nothing is known, depending on their key.
    """

    id: str
    kind: str
    text: str
    canonical: list[Any]
    event_names: frozenset[str] = frozenset()
    trait_names: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    timed: bool = False
    by_lot: bool = False
    by_location: bool = False

    @property
    def observes(self) -> bool:
        """Whether events change it: whether it keeps a state."""
        return bool(self.event_names) or self.by_location

    @property
    def filters(self) -> "tuple[EventFilter, ...]":
        """What events of :attr:`event_names` have to pass, one of them at least, where the leaf asks by filter."""
        return ()

    @property
    def leaves(self) -> tuple["Leaf", ...]:
        return (self,)

    def observe(self, old: Any, event: Event, event_hash: int) -> Any:
        """The state after ``event`` (``old`` None: none yet); ``old`` itself when nothing changed."""
        return old

    def taking(self, known: Path | None) -> Take:
        """:meth:`observe` for events of :attr:`event_names`.  ``known``: the path whose text was found to be one that
        the leaf asks for."""
        return self.observe

    def merge(self, a: Any, b: Any) -> Any:
        """The state of the person that two states (None: none) were of."""
        return b if a is None else a

    def sound(self, state: Any) -> bool:
        """Whether this can be a state of this leaf.  Asked of what comes in records; total."""
        try:
            self.read_state(state)
            self.merge(state, state)
        except (AttributeError, IndexError, TypeError, ValueError):
            return False
        return True

    def read_state(self, state: Any) -> None:
        """``ValueError`` (msgspec's is one) for what is not built like a state."""
        raise ValueError("this leaf keeps none")

    def truth(self, view: View, t: int) -> bool:
        raise NotImplementedError

    def next_flip(self, view: View, t: int) -> int | None:
        return None

    def seen(self, view: View, t: int) -> str:
        """The value that decides, in plain English."""
        return ""

    def exact_since(self, view: View, t: int) -> int | None:
        """The instant (ms) before which the answer at ``t`` rests on an estimate; None when it is exact."""
        return None

    def explain(self, view: View, t: int) -> Explanation:
        since = self.exact_since(view, t)
        return Explanation(
            text=self.text,
            truth=self.truth(view, t),
            kind=self.kind,
            seen=self.seen(view, t),
            turns_at=turns_at(self, view, t),
            inexact=since is not None,
            exact_since=since,
        )


def content_id(canonical: list[Any]) -> str:
    """The content address of a JSON-able canonical form."""
    return make_id("condition", msgspec.json.encode(canonical, order="deterministic"))[:ID_LENGTH]


def flips(condition: Condition, view: View, t: int) -> Iterator[tuple[int, bool]]:
    """(instant, truth from there on) for the next :data:`MAX_FLIPS` instants after ``t`` when nothing else happens."""
    for _ in range(MAX_FLIPS):
        at = condition.next_flip(view, t)
        if at is None:
            return
        yield at, condition.truth(view, at)
        t = at


def turns_at(condition: Condition, view: View, t: int) -> int | None:
    """When the truth at ``t`` ends by time alone."""
    if not condition.timed:
        return None
    now = condition.truth(view, t)
    return next((at for at, truth in flips(condition, view, t) if truth is not now), None)


def first_failing(explanation: Explanation) -> Explanation | None:
    """The leaf to show to somebody who asks why not: the first that would have to be otherwise.  None when true."""
    return None if explanation.truth else _culprit(explanation)


def failing_leaf(condition: Condition, view: View, t: int) -> Leaf | None:
    """The leaf that :func:`first_failing` would show, found without explaining everything else; None when true."""
    return None if condition.truth(view, t) else culprit_leaf(condition, False, view, t)


def culprit_leaf(condition: Condition, truth: bool, view: View, t: int) -> Leaf | None:
    """The leaf that makes a condition what it is, ``truth``."""
    while parts := getattr(condition, "parts", ()):
        if len(parts) == 1:
            condition = parts[0]
            truth = condition.truth(view, t)
            continue
        for part in parts:
            if part.truth(view, t) is truth:
                condition = part
                break
        else:  # no part is like the whole: never so with `all` and `any`
            condition, truth = parts[0], not truth
    return condition if isinstance(condition, Leaf) else None


def _culprit(explanation: Explanation) -> Explanation:
    if not explanation.parts:
        return explanation
    if explanation.kind == "not":
        return _culprit(explanation.parts[0])
    wrong = [part for part in explanation.parts if part.truth == explanation.truth]
    return _culprit(wrong[0] if wrong else explanation.parts[0])
