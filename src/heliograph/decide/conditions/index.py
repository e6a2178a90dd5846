"""Which leaves can a record change?  Looked up, never scanned (design, section 6).

Leaves are found by event name and, where they ask for equality on a path of the event (or trait), by the value that
stands there: a thousand segments on a thousand product ids cost an event one look-up, not a thousand comparisons.
What is returned are candidates: each still asks the event whatever the look-up has not answered.  Entries and exits of
journeys are found in the same way (:class:`FilterIndex`).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from heliograph.decide.conditions.filters import EventFilter
from heliograph.decide.conditions.model import Leaf, Take
from heliograph.decide.conditions.operators import fold, index_key, index_keys
from heliograph.decide.conditions.paths import Path, event_reader
from heliograph.decide.conditions.places import PlaceIndex
from heliograph.decide.conditions.traits import Trait
from heliograph.events.event import Event

MAX_INDEXED_KEYS = 64
"""A leaf with more alternatives than these (``in``) is not worth so many entries."""

Keys = frozenset[Hashable]
T = TypeVar("T")
P = TypeVar("P")


class Table(msgspec.Struct, frozen=True):
    """Leaves behind one name: those that are always candidates, and per path those by value."""

    always: tuple[Leaf, ...]
    by_value: tuple[tuple[Callable[[Any], Any], dict[Hashable, tuple[Leaf, ...]]], ...]

    def candidates(self, root: Any) -> Sequence[Leaf]:
        found = self.always
        for read, leaves in self.by_value:
            for key in index_keys(read(root)):
                if key in leaves:
                    found += leaves[key]
        return found


class Lookup(msgspec.Struct, Generic[P], frozen=True):
    """Like :class:`Table`, for events.  Per path: what a text there finds, which need not be asked for again, and what
    any other value (a list, above all) may mean."""

    always: tuple[P, ...]
    by_value: tuple[tuple[Callable[[Event], Any], dict[Hashable, tuple[P, ...]], dict[Hashable, tuple[P, ...]]], ...]

    def find(self, event: Event) -> tuple[P, ...]:
        found = self.always
        for read, by_text, by_key in self.by_value:
            value = read(event)
            if value.__class__ is str:
                if group := by_text.get(value if value.isascii() else index_key(value)):
                    found += group
            else:
                for key in index_keys(value):
                    if key in by_key:
                        found += by_key[key]
        return found


_NOTHING: tuple[Leaf, ...] = ()


class LeafIndex:
    """Over the leaves of a whole plan.  Of leaves with one id, which share a state, the first stands for all."""

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        by_id: dict[str, Leaf] = {}
        for leaf in leaves:
            by_id.setdefault(leaf.id, leaf)
        self.leaves: Mapping[str, Leaf] = MappingProxyType(by_id)
        self._events = _event_tables(by_id.values())
        self._takers = _taker_tables(by_id.values())
        self._traits = _trait_tables(by_id.values())
        self._places = PlaceIndex(by_id.values())

    def for_event(self, event: Event) -> Sequence[Leaf]:
        """Leaves whose state this event may change."""
        if self._places and "location" in event.context:
            return (*self._places.leaves(event), *self._named(event))
        return self._named(event)

    def _named(self, event: Event) -> Sequence[Leaf]:
        table = self._events.get(event.name)
        if table is None and not event.name.isascii():
            table = self._events.get(fold(event.name))
        if table is None:
            return _NOTHING
        return table.candidates(event)

    def takers(self, event: Event) -> tuple[tuple[str, Take], ...]:
        """The same leaves: their ids, and how each takes this event."""
        table = self._takers.get(event.name)
        if table is None and not event.name.isascii():
            table = self._takers.get(fold(event.name))
        found = table.find(event) if table is not None else ()
        return found + self._places.takers(event) if self._places and "location" in event.context else found

    def for_trait(self, name: str, old: Any, new: Any) -> Sequence[Leaf]:
        """Leaves whose truth may change when the top-level trait ``name`` goes from ``old`` to ``new``."""
        found: dict[str, Leaf] = {}
        for table in (self._traits.get(name), self._traits.get("*")):
            if table is not None:
                for value in (old, new):
                    found.update((leaf.id, leaf) for leaf in table.candidates(value))
        return list(found.values())


class FilterIndex(Generic[T]):
    """Filters on events, each with what it stands for."""

    def __init__(self, pairs: Iterable[tuple[EventFilter, T]]) -> None:
        groups: dict[str, list[tuple[int, EventFilter, T]]] = defaultdict(list)
        for place, (asked, meant) in enumerate(pairs):
            groups[asked.event].append((place, asked, meant))
        self._tables = {name: _filter_lookup(group) for name, group in groups.items()}

    def names(self) -> frozenset[str]:
        return frozenset(self._tables)

    def passed(self, name: str, event: Event) -> list[T]:
        """What those stand for that this event of (folded) ``name`` passes, in the order in which they were given."""
        table = self._tables.get(name)
        if table is None or not (found := table.find(event)):
            return []
        if len(found) > 1:
            by_place = {one[0]: one for one in found}
            found = tuple(by_place[place] for place in sorted(by_place))
        return [meant for _, asked, meant in found if asked is None or asked.matches(event)]


def _filter_lookup(group: Sequence[tuple[int, EventFilter, T]]) -> Lookup[tuple[int, EventFilter | None, T]]:
    def prepared(one: tuple[int, EventFilter, T], path: Path | None) -> tuple[int, EventFilter | None, T]:
        place, asked, meant = one
        return place, asked.beyond(path), meant

    return _lookup(group, lambda one: equalities_of(one[1]), prepared)


def _taker_tables(leaves: Iterable[Leaf]) -> dict[str, Lookup[tuple[str, Take]]]:
    groups = _grouped(leaves, lambda leaf: leaf.event_names)
    return {
        name: _lookup(group, _event_equalities(name), lambda leaf, path: (leaf.id, leaf.taking(path)))
        for name, group in groups.items()
    }


def _lookup(
    items: Sequence[T], equalities: Callable[[T], list[tuple[Path, Keys]]], prepared: Callable[[T, Path | None], P]
) -> Lookup[P]:
    """``prepared``: what is found of an item, by equality with the text at a path or (None) in another way."""
    always, tables = _placed(items, equalities)
    by_value = [
        (
            event_reader(path),
            {key: tuple(prepared(item, path) for item in group) for key, group in table.items()},
            {key: tuple(prepared(item, None) for item in group) for key, group in table.items()},
        )
        for path, table in tables.items()
    ]
    return Lookup(tuple(prepared(item, None) for item in always), tuple(by_value))


def _grouped(leaves: Iterable[Leaf], names: Callable[[Leaf], frozenset[str]]) -> dict[str, tuple[Leaf, ...]]:
    groups: dict[str, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        for name in names(leaf):
            groups[name].append(leaf)
    return {name: tuple(group) for name, group in groups.items()}


def _event_tables(leaves: Iterable[Leaf]) -> dict[str, Table]:
    groups = _grouped(leaves, lambda leaf: leaf.event_names)
    return {name: _table(group, _event_equalities(name), event_reader) for name, group in groups.items()}


def _trait_tables(leaves: Iterable[Leaf]) -> dict[str, Table]:
    groups = _grouped(leaves, lambda leaf: leaf.trait_names)
    return {name: _table(group, _trait_equalities(name), _below_name) for name, group in groups.items()}


Equalities = Callable[[Leaf], list[tuple[Path, Keys]]]


def _event_equalities(name: str) -> Equalities:
    def equalities(leaf: Leaf) -> list[tuple[Path, Keys]]:
        """The paths whose value is one of a few when the leaf takes an event of this name at all."""
        asked = [one for one in leaf.filters if one.event == name]
        return equalities_of(asked[0]) if len(asked) == 1 else []

    return equalities


def equalities_of(asked: EventFilter) -> list[tuple[Path, Keys]]:
    return [(part.path, part.keys) for part in asked.where if part.keys is not None]


def _trait_equalities(name: str) -> Equalities:
    def equalities(leaf: Leaf) -> list[tuple[Path, Keys]]:
        """The path, if the leaf's truth turns only when its value becomes, or was, one of a few."""
        if not isinstance(leaf, Trait) or leaf.path.keys[0] != name:
            return []
        sole = len(leaf.checks) == 1 and not leaf.instants
        keys = next((check.keys for check in leaf.checks if check.keys and (sole or not check.negated)), None)
        return [] if keys is None else [(leaf.path, keys)]

    return equalities


def _below_name(path: Path) -> Callable[[Any], Any]:
    """Reads the path from the value of its top-level trait."""
    rest = Path(path.text, path.keys[1:])
    return rest.read if rest.keys else lambda value: value


def _table(leaves: Sequence[Leaf], equalities: Equalities, reader: Callable[[Path], Callable[[Any], Any]]) -> Table:
    always, tables = _placed(leaves, equalities)
    by_value = ((path, {key: tuple(group) for key, group in table.items()}) for path, table in tables.items())
    return Table(tuple(always), tuple((reader(path), table) for path, table in by_value))


def _placed(
    items: Sequence[T], equalities: Callable[[T], list[tuple[Path, Keys]]]
) -> tuple[list[T], dict[Path, dict[Hashable, list[T]]]]:
    """Each item goes under the path on which the values of all differ most, so that few share an entry; those without
    an equality apart."""
    wanted = [[(path, keys) for path, keys in equalities(item) if _few(keys)] for item in items]
    values = {(path.keys, key) for found in wanted for path, keys in found for key in keys}
    distinct = Counter(path_keys for path_keys, _ in values)
    always: list[T] = []
    tables: dict[Path, dict[Hashable, list[T]]] = defaultdict(lambda: defaultdict(list))
    for item, found in zip(items, wanted, strict=True):
        if not found:
            always.append(item)
            continue
        path, keys = max(found, key=lambda pair: distinct[pair[0].keys])
        for key in keys:
            tables[path][key].append(item)
    return always, tables


def _few(keys: Keys) -> bool:
    return len(keys) <= MAX_INDEXED_KEYS
