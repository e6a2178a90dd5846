"""The leaf ``near``: somebody was within some metres of a place, as their events say.

Any event may carry where it happened, as ``context.location.latitude`` and ``.longitude`` in degrees (Segment's spec).
Distances are great circles on a sphere of the mean radius (haversine; at most 0.5 % from the ellipsoid's).
:class:`PlaceIndex` finds the places near an event by the cell of a grid that it falls into.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from heliograph.decide import times
from heliograph.decide.conditions.lately import Lately, read_within
from heliograph.decide.conditions.model import Leaf, Take, content_id
from heliograph.decide.parsing import LATER, Context, JsonPath, kind_of
from heliograph.events.event import Event

EARTH_M: Final = 6_371_008.8
"""Mean radius (IUGG), in metres."""
MAX_RADIUS_M: Final = 1_000_000
"""Metres: beyond a country, a circle says nothing about where somebody is."""
ROUNDING: Final = 1e-6
"""Degrees (11 cm) around the box of a circle, so that rounding leaves no point of the circle outside."""


class Near(Lately, frozen=True, kw_only=True):
    """Some event in the window happened within ``radius_m`` metres, the edge included.  Degrees.

    The box around the circle answers for nearly everybody; ``bound`` is sin² of half the angle of the radius.
    """

    lat: float
    lon: float
    radius_m: float
    box: tuple[float, float, float]
    """Least and greatest latitude, and how far the longitude may lie away (180 around a pole)."""
    bound: float
    cosine: float

    def concerns(self, event: Event) -> bool:
        where = location(event)
        return where is not None and self.holds(*where)

    def holds(self, lat: float, lon: float) -> bool:
        least, most, beside = self.box
        away = abs(lon - self.lon)
        if not least <= lat <= most or min(away, 360 - away) > beside:
            return False
        up = math.sin(math.radians(lat - self.lat) / 2)
        across = math.sin(math.radians(away) / 2)
        return up * up + self.cosine * math.cos(math.radians(lat)) * across * across <= self.bound


def location(event: Event) -> tuple[float, float] | None:
    """Latitude and longitude in degrees; None when the event does not say, or says what is nowhere on earth."""
    where: Any = event.context.get("location")
    if where.__class__ is not dict:
        return None
    lat: Any = where.get("latitude")
    lon: Any = where.get("longitude")
    return (lat, lon) if _is_degree(lat, 90) and _is_degree(lon, 180) else None


def _is_degree(value: Any, most: int) -> bool:
    return value.__class__ in (int, float) and -most <= value <= most


def make_near(lat: float, lon: float, radius_m: float, within: int | None) -> Near:
    state = ["near", lat, lon, radius_m]
    window = "" if within is None else f" in the last {times.describe(within)}"
    return Near(
        id=content_id(state),
        kind="near",
        text=f"was within {radius_m:g} m of {lat:g}, {lon:g}{window}",
        canonical=[*state, within],
        timed=within is not None,
        by_location=True,
        within=within,
        lat=lat,
        lon=lon,
        radius_m=radius_m,
        box=_box(lat, radius_m),
        bound=math.sin(radius_m / EARTH_M / 2) ** 2,
        cosine=math.cos(math.radians(lat)),
    )


def _box(lat: float, radius_m: float) -> tuple[float, float, float]:
    angle = radius_m / EARTH_M
    reach = math.degrees(angle) + ROUNDING
    least, most = lat - reach, lat + reach
    if least <= -90 or most >= 90:
        return least, most, 180.0
    beside = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(lat)))))
    return least, most, beside + ROUNDING


def read_near(node: Any, path: JsonPath, context: Context) -> Near | None:
    """``{lat, lon, radius_m, within}``; None after noting why not."""
    before = len(context.problems)
    keys = ("lat", "lon", "radius_m", "within")
    named = isinstance(node, dict) and LATER["near"] & node.keys()
    required = () if named else keys[:3]
    fields = context.mapping(node, path, "`near`", keys, required=required, later="near") or {}
    lat = _read_number(fields, "lat", -90, 90, path, context)
    lon = _read_number(fields, "lon", -180, 180, path, context)
    radius = _read_number(fields, "radius_m", 1, MAX_RADIUS_M, path, context)
    within = read_within(fields, path, context)
    if len(context.problems) > before or lat is None or lon is None or radius is None:
        return None
    return make_near(lat, lon, radius, within)


def _read_number(
    fields: dict[str, Any], key: str, least: int, most: int, path: JsonPath, context: Context
) -> float | None:
    if key not in fields:
        return None
    node = fields[key]
    if isinstance(node, bool) or not isinstance(node, int | float):
        context.problem((*path, key), f"`{key}` is a number, not {kind_of(node)}")
    elif not least <= node <= most:
        context.problem((*path, key), f"`{key}` is from {least} to {most}, not {node}")
    else:
        return float(node)
    return None


# -- which places does an event concern? --

CELLS: Final = (10, 1)
"""Cells a degree, of the fine and the coarse grid: 11 km and 111 km along a meridian."""
MAX_CELLS: Final = 64
"""Cells that one place may stand in; a wider one stands in the next grid, the widest are asked by every event."""

Cell: TypeAlias = tuple[int, int, int]
Takers: TypeAlias = tuple[tuple[str, Take], ...]


class PlaceIndex:
    """The leaves that an event with a location may concern; an event without one costs nothing."""

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        cells: dict[Cell, list[tuple[str, Take]]] = defaultdict(list)
        self._leaves = {leaf.id: leaf for leaf in leaves if isinstance(leaf, Near)}
        everywhere: list[tuple[str, Take]] = []
        for leaf in self._leaves.values():
            found = _cells(leaf)
            for cell in found:
                cells[cell].append((leaf.id, leaf.observe))
            if not found:
                everywhere.append((leaf.id, leaf.observe))
        self._everywhere: Takers = tuple(everywhere)
        self._cells: dict[Cell, Takers] = {cell: tuple(group) for cell, group in cells.items()}

    def __bool__(self) -> bool:
        return bool(self._leaves)

    def takers(self, event: Event) -> Takers:
        """Their ids, and how each takes this event."""
        where = location(event)
        if where is None:
            return ()
        found: Takers = self._everywhere
        for a_degree in CELLS:
            if group := self._cells.get(_cell(*where, a_degree)):
                found += group
        return found

    def leaves(self, event: Event) -> tuple[Leaf, ...]:
        return tuple(self._leaves[leaf_id] for leaf_id, _ in self.takers(event))


def _cell(lat: float, lon: float, a_degree: int) -> Cell:
    return a_degree, math.floor(lat * a_degree), math.floor(lon * a_degree)


def _cells(leaf: Near) -> list[Cell]:
    """All that the circle may reach into, of the finest grid in which they are few; none when they are many."""
    least, most, beside = leaf.box
    if beside >= 180:
        return []
    for a_degree in CELLS:
        rows = range(math.floor(least * a_degree), math.floor(most * a_degree) + 1)
        columns = [column for west, east in _spans(leaf.lon, beside) for column in _columns(west, east, a_degree)]
        if len(rows) * len(columns) <= MAX_CELLS:
            return [(a_degree, row, column) for row in rows for column in dict.fromkeys(columns)]
    return []


def _spans(lon: float, beside: float) -> Iterator[tuple[float, float]]:
    """The longitudes from -180 to 180 that lie so near; two spans across the date line."""
    west, east = lon - beside, lon + beside
    yield max(west, -180.0), min(east, 180.0)
    if west <= -180:
        yield west + 360, 180.0
    if east >= 180:
        yield -180.0, east - 360


def _columns(west: float, east: float, a_degree: int) -> range:
    return range(math.floor(west * a_degree), math.floor(east * a_degree) + 1)
