"""Reading what people wrote: typed keys, all problems at once, and the nearest valid word.

A reader never raises for bad input: it notes a :class:`Problem` with the JSON path and returns None, so that one run
of ``check`` lists everything.  The caller goes on with what it got and looks at ``Context.problems`` at the end.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide.times import Duration, parse_duration

JsonPath: TypeAlias = tuple[str | int, ...]

MAX_TEXT: Final = 1000
"""Characters in a name, a word or an operand: ten lines of prose; nothing that people compare with is longer."""

LATER: Final[Mapping[str, frozenset[str]]] = {
    "near": frozenset({"geofence"}),
    "entry": frozenset({"item"}),
    "step": frozenset({"coupon"}),
}
"""Words of the contract that this version knows by name only, by the place where they would stand."""

MEANT: Final[Mapping[str, str]] = {
    "and": "all", "or": "any", "none": "not",
    "email": "send", "mail": "send", "message": "send",
    "delay": "wait", "sleep": "wait", "pause": "wait",
    "if": "branch", "condition": "branch", "ab_test": "split", "experiment": "split", "random": "split",
    "end": "exit", "stop": "exit", "set": "update", "http": "webhook", "jump": "goto",
}  # fmt: skip
"""What other tools call our words: no spelling tells that."""
_USUAL_MONTHS: Final = frozenset({1, 2, 3, 4, 6, 9, 12, 18, 24, 36})
"""Months that somebody means who writes them; P30M is half an hour without its T."""
_MONTHS = re.compile(r"[+-]?P(\d+)M", re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)


class Problem(msgspec.Struct, frozen=True):
    """Something the writer has to change.  ``hint`` is the nearest valid word, ``""`` when none is near."""

    path: JsonPath
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = ".".join(map(str, self.path))
        return f"{place}: {self.message}" + (f" (did you mean {self.hint!r}?)" if self.hint else "")


def nearest(word: str, words: Iterable[str]) -> str:
    """The valid word that somebody who wrote ``word`` meant, or ``""``."""
    by_folded = {valid.casefold(): valid for valid in words}
    if (meant := MEANT.get(word.casefold())) in by_folded:
        return by_folded[meant]
    found = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


def kind_of(node: object) -> str:
    """A YAML author's word for the type of ``node``."""
    match node:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a mapping"
    return type(node).__name__


class Context:
    """What readers need to know of the project, and what they found.

    ``segments``: the names defined in this project; ``in_segment`` with another name means a static list and is noted
    in ``lists`` (so that ``check`` can warn).  ``topics``: name -> ``required`` or ``assumed``.  ``time_scale``
    divides every duration that is read with ``scaled``.
    """

    def __init__(
        self,
        *,
        segments: Collection[str] = (),
        topics: Mapping[str, str] | None = None,
        time_scale: float = 1,
        timezone: str = "UTC",
    ) -> None:
        self.segments = frozenset(segments)
        self.topics: dict[str, str] = {"marketing": "assumed", **(topics or {})}
        self.time_scale = time_scale
        self.timezone = timezone
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.lists: set[str] = set()

    def problem(self, path: JsonPath, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path, message, hint))

    def warn(self, path: JsonPath, message: str, hint: str = "") -> None:
        self.warnings.append(Problem(path, message, hint))

    def unknown(self, path: JsonPath, word: object, what: str, words: Iterable[str], later: str = "") -> None:
        """``word`` is not one of ``words``: say whether it is of a later version, else name the nearest."""
        if word in LATER.get(later, ()):
            self.problem(path, f"`{word}` is not in this version")
            return
        known = sorted(words)
        hint = nearest(word, known) if isinstance(word, str) else ""
        listed = "" if hint or len(known) > 20 else "; expected " + ", ".join(known)
        self.problem(path, f"{what} has no `{word}`{listed}", hint)

    # -- typed readers --

    def mapping(
        self,
        node: object,
        path: JsonPath,
        what: str,
        known: Collection[str],
        *,
        required: Collection[str] = (),
        later: str = "",
    ) -> dict[str, Any] | None:
        """The known keys of a mapping; every other key and every missing required one is a problem."""
        if not isinstance(node, dict):
            self.problem(path, f"{what} is a mapping, not {kind_of(node)}")
            return None
        for key in node:
            if key not in known:
                self.unknown((*path, str(key)), key, what, known, later)
        for key in required:
            if key not in node:
                self.problem(path, f"{what} needs `{key}`")
        return {key: value for key, value in node.items() if key in known}

    def text(self, node: object, path: JsonPath, what: str, *, empty: bool = False) -> str | None:
        if not isinstance(node, str):
            self.problem(path, f"{what} is text, not {kind_of(node)}")
        elif not node.strip() and not empty:
            self.problem(path, f"{what} is empty")
        elif len(node) > MAX_TEXT:
            self.problem(path, f"{what} is longer than {MAX_TEXT} characters")
        elif not _encodable(node):
            self.problem(path, f"{what} holds half of a surrogate pair, which is no character")
        else:
            return node
        return None

    def boolean(self, node: object, path: JsonPath, what: str) -> bool | None:
        if isinstance(node, bool):
            return node
        self.problem(path, f"{what} is true or false, not {kind_of(node)}")
        return None

    def integer(self, node: object, path: JsonPath, what: str, least: int, most: int) -> int | None:
        if isinstance(node, bool) or not isinstance(node, int):
            self.problem(path, f"{what} is a whole number, not {kind_of(node)}")
        elif not least <= node <= most:
            self.problem(path, f"{what} is from {least} to {most}, not {node}")
        else:
            return node
        return None

    def own_trait(self, path_text: object, path: JsonPath) -> None:
        """Warn of a path of traits that begins as it would in a value or a template: there is hardly such a trait."""
        first, _, rest = path_text.partition(".") if isinstance(path_text, str) else ("", "", "")
        if rest and first in ("profile", "traits"):
            self.warn(path, f"{path_text!r} is looked for in the traits: leave `{first}.` out", rest)
        elif rest and first in ("event", "trigger", "properties", "context"):
            said = (
                f"{path_text!r} is looked for in the traits, not in an event: an `update` step can keep a value there"
            )
            self.warn(path, said)

    def share(self, node: object, path: JsonPath, what: str) -> float | None:
        """A share like ``5%``, in [0, 1)."""
        if isinstance(node, str) and (found := _SHARE.fullmatch(node)) and (share := float(found[1]) / 100) < 1:
            return share
        self.problem(path, f"{what} is a share like 5%, below 100%")
        return None

    def sequence(self, node: object, path: JsonPath, what: str, *, most: int, least: int = 1) -> list[Any] | None:
        if not isinstance(node, list):
            self.problem(path, f"{what} is a list, not {kind_of(node)}")
        elif not least <= len(node) <= most:
            self.problem(path, f"{what} has from {least} to {most} items, not {len(node)}")
        else:
            return node
        return None

    def choice(self, node: object, path: JsonPath, what: str, words: Collection[str]) -> str | None:
        if isinstance(node, str) and node in words:
            return node
        if isinstance(node, str):
            self.problem(path, f"{what} is one of {', '.join(sorted(words))}, not {node!r}", nearest(node, words))
        else:
            self.problem(path, f"{what} is one of {', '.join(sorted(words))}, not {kind_of(node)}")
        return None

    def duration(
        self, node: object, path: JsonPath, what: str, *, calendar: bool = False, signed: bool = False,
        zero: bool = False, scaled: bool = True,
    ) -> Duration | None:  # fmt: skip
        """``calendar`` takes months and years, ``signed`` also negative ones, ``zero`` also none at all."""
        if not isinstance(node, str):
            self.problem(path, f"{what} is an ISO-8601 duration like PT30M, not {kind_of(node)}")
            return None
        try:
            duration = parse_duration(node)
        except ValueError as error:
            self.problem(path, f"{what}: {error}")
            return None
        minutes = _as_minutes(node)
        if duration.calendar and not calendar:
            said = f"{what}: {node!r} has months or years, whose length varies: write days"
            self.problem(path, said + (f" ({minutes})" if minutes else ""))
        elif duration.sign < 0 and not signed:
            self.problem(path, f"{what} cannot be negative")
        elif duration.sign == 0 and not zero:
            self.problem(path, f"{what} cannot be zero")
        else:
            if minutes:
                self.warn(path, f"{what}: {node!r} is months ({minutes})")
            return duration.scaled(self.time_scale) if scaled else duration
        return None


def _as_minutes(text: str) -> str:
    """What somebody may have meant who wrote months alone, and more of them than people count in; else ``""``."""
    found = _MONTHS.fullmatch(text)
    if found is None or int(found[1]) in _USUAL_MONTHS:
        return ""
    return f"{int(found[1])} minutes are PT{int(found[1])}M"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
