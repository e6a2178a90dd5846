"""Two accounts of the same people, laid side by side: where they part, and by which decision."""

import heapq
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import msgspec

from heliograph.backtest.lane import Decided, Story
from heliograph.events.identity import profile_id

LISTED: Final = 50
"""Differences shown: the earliest."""


class Step(NamedTuple):
    """A decision as it is compared, and as it is shown."""

    at: int
    said: str
    id: str


class Difference(msgspec.Struct, frozen=True, order=True):
    """Where one person's two accounts part: ``live`` and ``draft`` are what each decides, and when (ms); "" and 0 for
    nothing any more.  ``at``: the earlier of the two instants."""

    at: int
    profile_id: str
    live: str
    live_at: int
    draft: str
    draft_at: int


class Differences(msgspec.Struct):
    """``people``: whose accounts part.  ``only_live``, ``only_draft``: mails that the other does not decide; ``moved``:
    mails that both decide, at different instants."""

    people: int = 0
    only_live: int = 0
    only_draft: int = 0
    moved: int = 0
    listed: list[Difference] = []

    def add(self, other: "Differences") -> None:
        for name in ("people", "only_live", "only_draft", "moved"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.listed = heapq.nsmallest(LISTED, [*self.listed, *other.listed])


def compare(found: Differences, journey: str, live: Story, draft: Story) -> None:
    """Note how people fare in the two, each under the key that the draft's account ends at."""
    ours, theirs = (_by_person(story.decided, draft) for story in (draft, live))
    for key in sorted(ours.keys() | theirs.keys()):
        one, other = steps_of(ours.get(key, []), journey), steps_of(theirs.get(key, []), journey)
        if one != other:
            note(found, profile_id(key), other, one)


def _by_person(decided: list[Decided], story: Story) -> dict[str, list[Decided]]:
    found: dict[str, list[Decided]] = {}
    for one in decided:
        found.setdefault(story.survivor(one.key), []).append(one)
    return found


def note(found: Differences, person: str, live: list[Step], draft: list[Step]) -> None:
    found.people += 1
    mails, others = ({one.id: one.at for one in steps if one.id} for steps in (draft, live))
    found.only_draft += len(mails.keys() - others.keys())
    found.only_live += len(others.keys() - mails.keys())
    found.moved += sum(others.get(message_id, at) != at for message_id, at in mails.items())
    first = next((pair for pair in zip_longest(live, draft) if pair[0] != pair[1]), (None, None))
    at = min(one.at for one in first if one is not None)
    row = Difference(at, person, *_shown(first[0]), *_shown(first[1]))
    found.listed = heapq.nsmallest(LISTED, [*found.listed, row])


def _shown(step: Step | None) -> tuple[str, int]:
    return (step.said, step.at) if step is not None else ("", 0)


def steps_of(decided: list[Decided], journey: str) -> list[Step]:
    """The decisions about a journey that people notice, in order of time."""
    found = [step for one in decided if (step := step_of(one, journey)) is not None]
    return sorted(found, key=lambda step: step.at)


def step_of(one: Decided, journey: str) -> Step | None:
    if one.data.get("journey") != journey or one.kind not in _WORDS:
        return None
    mail = one.data["message_id"] if one.kind == "message_decided" else ""
    return Step(one.at, _WORDS[one.kind].format_map(_Blank(one.data)).rstrip(), mail)


class _Blank(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


_WORDS: Final = {
    "run_started": "enters {entry_key}",
    "run_refused": "does not enter: {reason}",
    "run_ended": "leaves: {reason}",
    "goal": "reaches the goal",
    "message_decided": "mails {template}",
    "message_skipped": "does not mail {template}: {reason}",
    "message_deferred": "puts off {template}: {reason}",
}
