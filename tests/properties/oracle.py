"""What a condition says of somebody, in the slowest words: read off the contract, over the raw list of their events.

Nothing here is shared with the product: no import, no state, no window arithmetic, no index.  An event is a mapping
``{id, name, at, properties, traits, context}``; a person is a :class:`Somebody`.
"""

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

Node = dict[str, Any]
UNITS = {"W": 604_800_000, "D": 86_400_000, "H": 3_600_000, "M": 60_000, "S": 1000}


@dataclass
class Somebody:
    events: list[Node]
    traits: dict[str, Any] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    topics: frozenset[str] = frozenset()
    zone: str = "UTC"
    key: str = "u:1"


def truth(node: Node, who: Somebody, t: int) -> bool:
    """Whether the condition, as it is written, holds at ``t`` (ms)."""
    ((word, asked),) = node.items()
    match word:
        case "all":
            return all(truth(part, who, t) for part in asked)
        case "any":
            return any(truth(part, who, t) for part in asked)
        case "not":
            return not truth(asked, who, t)
        case "everyone":
            return True
        case "in_segment":
            return asked in who.members
        case "in_topic":
            return asked in who.topics
    happened = [event for event in unique(who.events) if event["at"] <= t]
    return LEAVES[word](asked, happened, who, t)


def unique(events: list[Node]) -> list[Node]:
    """An event that came twice happened once."""
    return list({(event["id"], event["at"]): event for event in events}.values())


def turning_points(node: Node, who: Somebody) -> set[int]:
    """Every instant at which time alone could turn it: something enters or leaves a window."""
    ((word, asked),) = node.items()
    if word in ("all", "any"):
        return set().union(*(turning_points(part, who) for part in asked))
    if word == "not":
        return turning_points(asked, who)
    if word == "trait":
        return dates_of(asked, who)
    if not isinstance(asked, dict) or "within" not in asked or word == "sequence":
        return set()
    return {event["at"] + ms(asked["within"]) for event in who.events}


# -- events --


def counted(asked: Node, happened: list[Node], t: int) -> list[Node]:
    """Those of that name, that pass ``where``, with ``t - within < occurred_at <= t``."""
    since = t - ms(asked["within"]) if "within" in asked else -math.inf
    return [event for event in happened if since < event["at"] and meant(asked, event)]


def meant(asked: Node, event: Node) -> bool:
    if nfc(event["name"]) != nfc(asked["event"]):
        return False
    return all(
        satisfies(way, check if isinstance(check, dict) else {"is": check})
        for path, check in asked.get("where", {}).items()
        for way in [ways(path, event)]
    )


def did(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
    events = counted(asked, happened, t)
    least, most = 1, math.inf
    if "at_least" in asked:
        least = asked["at_least"]
    elif "at_most" in asked:
        least, most = 0, asked["at_most"]
    elif "exactly" in asked:
        least = most = asked["exactly"]
    elif "between" in asked:
        least, most = asked["between"]
    if "same" not in asked:
        return least <= len(events) <= most
    values = [set(map(identity, scalars(asked["same"], event))) for event in events]
    return any(least <= sum(value in found for found in values) <= most for value in set().union(*values))


def scalars(path: str, event: Node) -> list[Any]:
    """What stands at a path, each element of a list on its own; nothing for null and structures."""
    found = []
    for value in ways(path, event):
        found += value if isinstance(value, list) else [value]
    return [value for value in found if isinstance(value, str | int | float)]


def identity(value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "bool", value
    return ("text", nfc(value)) if isinstance(value, str) else ("number", Decimal(repr(value)).normalize())


def measured(measure: Callable[[list[Decimal]], Decimal | None]) -> Callable[..., bool]:
    def holds(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
        amounts = []
        for event in counted(asked, happened, t):
            for value in scalars(asked["property"], event):
                if not isinstance(value, bool | str) and abs(value) <= 9_000_000_000_000:
                    amounts.append(Decimal(repr(value)).quantize(Decimal("0.000001"), ROUND_HALF_EVEN))
        return compares(asked, measure(amounts))

    return holds


def compares(asked: Node, value: Decimal | int | None) -> bool:
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "is": lambda a, b: a is not None and a == b,
        "is_not": lambda a, b: a is None or a != b,
        "gt": lambda a, b: a is not None and a > b,
        "gte": lambda a, b: a is not None and a >= b,
        "lt": lambda a, b: a is not None and a < b,
        "lte": lambda a, b: a is not None and a <= b,
    }
    return all(test(value, Decimal(repr(asked[word]))) for word, test in tests.items() if word in asked)


class Ratio:
    """An average, compared without dividing."""

    def __init__(self, amounts: list[Decimal]) -> None:
        self.total, self.count = sum(amounts), len(amounts)

    def __eq__(self, other: object) -> bool:
        return self.total == other * self.count  # type: ignore[operator]

    __hash__ = None  # type: ignore[assignment]

    def __gt__(self, other: Decimal) -> bool:
        return self.total > other * self.count

    def __ge__(self, other: Decimal) -> bool:
        return self.total >= other * self.count

    def __lt__(self, other: Decimal) -> bool:
        return self.total < other * self.count

    def __le__(self, other: Decimal) -> bool:
        return self.total <= other * self.count


def distinct(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
    events = counted(asked, happened, t)
    return compares(asked, len({identity(value) for event in events for value in scalars(asked["property"], event)}))


def sequence(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
    """From each first event on to the earliest possible second, and so on: did any of these end in time?"""

    def place(event: Node) -> tuple[int, bytes]:
        return event["at"], blake2b(event["id"].encode(), digest_size=8).digest()

    steps = [sorted((e for e in happened if meant(step, e)), key=place) for step in asked["events"]]
    within = ms(asked["within"]) if "within" in asked else math.inf
    for first in steps[0]:
        last: Node | None = first
        for following in steps[1:]:
            last = next((event for event in following if last is not None and place(event) > place(last)), None)
        if last is not None and last["at"] - first["at"] < within:
            return True
    return False


def near(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
    since = t - ms(asked["within"]) if "within" in asked else -math.inf
    for event in happened:
        where = event["context"].get("location")
        if since < event["at"] and isinstance(where, dict):
            place = where.get("latitude"), where.get("longitude")
            on_earth = all(map(number, place)) and abs(place[0]) <= 90 and abs(place[1]) <= 180
            if on_earth and metres(place, (asked["lat"], asked["lon"])) <= asked["radius_m"]:
                return True
    return False


def metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Along the great circle, by the angle between two vectors."""
    one, other = vector(a), vector(b)
    cross = (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )
    return 6_371_008.8 * math.atan2(math.hypot(*cross), sum(x * y for x, y in zip(one, other, strict=True)))


def vector(place: tuple[float, float]) -> tuple[float, float, float]:
    lat, lon = math.radians(place[0]), math.radians(place[1])
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


def engaged(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
    names = {
        "received": ["Email Sent", "Email Delivered"],
        "opened": ["Email Opened"],
        "clicked": ["Email Clicked"],
    }[asked["kind"]]
    return any(counted({**asked, "event": name}, happened, t) for name in names)


def bucket(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
    """blake2b-128 over (workspace 0, "bucket", salt, key), each part with its type and length."""
    parts = [("i", "0"), ("s", "bucket"), ("s", asked["salt"]), ("s", who.key)]
    tagged = b"".join(kind.encode() + len(text.encode()).to_bytes(4, "big") + text.encode() for kind, text in parts)
    drawn = int.from_bytes(blake2b(tagged, digest_size=16).digest()[:7], "big") / 2**56
    return drawn < float(asked["below"].rstrip("%")) / 100


# -- traits --


def trait(asked: Node, happened: list[Node], who: Somebody, t: int) -> bool:
    found = ways(asked["path"], {"": who.traits}, root="")
    dates = [instant(text, who.zone) for text in texts(found)]
    for word in ("before", "after", "within"):
        if word in asked and not any(date is not None and timely(word, asked[word], date, who, t) for date in dates):
            return False
    rest = {word: value for word, value in asked.items() if word not in ("path", "before", "after", "within")}
    return satisfies(found, rest)


def timely(word: str, operand: str, date: int, who: Somebody, t: int) -> bool:
    if not operand.lstrip("-").startswith("P"):
        bound = instant(operand, who.zone)
        assert bound is not None
        return date < bound if word == "before" else date > bound
    length = -ms(operand[1:]) if operand.startswith("-") else ms(operand)
    if word == "within":
        return t < date <= t + length if length > 0 else t + length < date <= t
    return date < t + length if word == "before" else date > t + length


def dates_of(asked: Node, who: Somebody) -> set[int]:
    points: set[int] = set()
    for word in ("before", "after", "within"):
        if isinstance(operand := asked.get(word), str) and operand.lstrip("-").startswith("P"):
            length = -ms(operand[1:]) if operand.startswith("-") else ms(operand)
            for text in texts(ways(asked["path"], {"": who.traits}, root="")):
                if (date := instant(text, who.zone)) is not None:
                    points |= {date, date - length, date - length + 1}
    return points


def texts(found: list[Any]) -> list[str]:
    spread = [one for value in found for one in (value if isinstance(value, list) else [value])]
    return [value for value in spread if isinstance(value, str)]


def instant(text: str, zone: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)


# -- operators --


def satisfies(found: list[Any], checks: Node) -> bool:
    folds = checks.get("ignore_case", False)
    return all(
        operator(word, operand, found, folds) for word, operand in checks.items() if word not in ("ignore_case", "path")
    )


def operator(word: str, operand: Any, found: list[Any], folds: bool) -> bool:
    """``found``: one value, or with a ``*`` one for each way through it."""
    match word:
        case "is_not":
            return not operator("is", operand, found, folds)
        case "not_in":
            return not operator("in", operand, found, folds)
        case "exists":
            return any(value is not None for value in found) is operand
        case "contains":
            return any(contains(value, operand, folds) for value in found)
        case "starts_with" | "ends_with" | "matches":
            return any(isinstance(value, str) and ABOUT_TEXT[word](value, operand, folds) for value in found)
    return any(
        SINGLE[word](one, operand, folds) for value in found for one in (value if isinstance(value, list) else [value])
    )


def equal(a: Any, b: Any, folds: bool) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and same_text(a, folds) == same_text(b, folds)
    return isinstance(a, int | float) and bool(a == b)


def contains(value: Any, operand: Any, folds: bool) -> bool:
    if isinstance(value, list):
        return any(equal(one, operand, folds) for one in value)
    both = isinstance(value, str) and isinstance(operand, str)
    return both and same_text(operand, folds) in same_text(value, folds)


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


SINGLE: dict[str, Callable[[Any, Any, bool], bool]] = {
    "is": equal,
    "in": lambda value, operand, folds: value is not None and any(equal(value, one, folds) for one in operand),
    "gt": lambda value, operand, folds: number(value) and value > operand,
    "gte": lambda value, operand, folds: number(value) and value >= operand,
    "lt": lambda value, operand, folds: number(value) and value < operand,
    "lte": lambda value, operand, folds: number(value) and value <= operand,
}
ABOUT_TEXT: dict[str, Callable[[str, str, bool], bool]] = {
    "starts_with": lambda value, operand, folds: same_text(value, folds).startswith(same_text(operand, folds)),
    "ends_with": lambda value, operand, folds: same_text(value, folds).endswith(same_text(operand, folds)),
    "matches": lambda value, operand, folds: same_text(operand, folds) in same_text(value, folds),  # plain patterns
}


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def same_text(text: str, folds: bool) -> str:
    return nfc(nfc(text).casefold()) if folds else nfc(text)


# -- paths and durations --


def ways(path: str, event: Node, root: str | None = None) -> list[Any]:
    """Everything that stands at a path: one value, or with a ``*`` one for each way (null when there is none)."""
    keys = path.replace("\\.", "\0").split(".")
    found: list[Any] = [event if root is None else event[root]]
    for key in (one.replace("\0", ".") for one in keys):
        if key == "*":
            found = [one for value in found for one in elements(value)]
        else:
            found = [value.get(key) if isinstance(value, dict) else None for value in found]
    return found or [None]


def elements(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else []


def ms(text: str) -> int:
    total, digits, clock = Decimal(0), "", False
    for letter in text[1:]:
        if letter == "T":
            clock = True
        elif letter in UNITS:
            assert clock or letter in "WD", text
            total += Decimal(digits) * UNITS[letter]
            digits = ""
        else:
            digits += letter
    return int(total)


LEAVES: dict[str, Callable[[Node, list[Node], Somebody, int], bool]] = {
    "did": did,
    "did_sum": measured(lambda amounts: sum(amounts, Decimal(0))),
    "did_avg": measured(lambda amounts: Ratio(amounts) if amounts else None),  # type: ignore[arg-type, return-value]
    "did_min": measured(lambda amounts: min(amounts, default=None)),
    "did_max": measured(lambda amounts: max(amounts, default=None)),
    "did_distinct": distinct,
    "sequence": sequence,
    "near": near,
    "engaged": engaged,
    "bucket": bucket,
    "trait": trait,
}
