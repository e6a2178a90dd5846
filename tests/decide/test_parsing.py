"""Readers note every problem, with its place and the nearest valid word."""

from typing import Any

import pytest

from heliograph.decide.parsing import Context, Problem, nearest
from heliograph.decide.times import DAY, Duration


def test_all_problems_are_collected_with_their_paths() -> None:
    context = Context()
    fields = context.mapping({"evnt": 1, "where": 2}, ("entry",), "an entry", ("event", "where"), required=("event",))
    assert fields == {"where": 2}
    assert context.problems == [
        Problem(("entry", "evnt"), "an entry has no `evnt`", "event"),
        Problem(("entry",), "an entry needs `event`"),
    ]
    assert str(context.problems[0]) == "entry.evnt: an entry has no `evnt` (did you mean 'event'?)"


def test_words_of_later_versions_are_refused_by_name() -> None:
    context = Context()
    context.mapping({"item": "..."}, ("entry",), "an entry", ("event",), later="entry")
    assert [p.message for p in context.problems] == ["`item` is not in this version"]


@pytest.mark.parametrize("node", [None, True, 1, "text", ["a"]])
def test_no_reader_raises_on_a_wrong_type(node: Any) -> None:
    context = Context()
    context.mapping(node, (), "it", ())
    context.text(node, (), "it")
    context.integer(node, (), "it", 0, 0)
    context.boolean(node, (), "it")
    context.sequence(node, (), "it", most=0)
    context.choice(node, (), "it", ("a", "b"))
    context.duration(node, (), "it")
    assert context.problems


def test_true_is_no_number_and_blank_is_no_text() -> None:
    context = Context()
    assert context.integer(True, (), "it", 0, 5) is None
    assert context.text("  ", (), "it") is None
    assert context.text("\ud800", (), "it") is None
    assert context.text("x" * 1001, (), "it") is None
    assert len(context.problems) == 4


def test_durations_are_scaled_unless_told_otherwise() -> None:
    context = Context(time_scale=24)
    assert context.duration("P1D", (), "it") == Duration(DAY // 24)
    assert context.duration("P1D", (), "it", scaled=False) == Duration(DAY)
    assert not context.problems


@pytest.mark.parametrize(
    ("text", "reason"), [("P1M", "write days"), ("-P1D", "negative"), ("PT0S", "zero"), ("1d", "ISO")]
)
def test_durations_say_what_they_do_not_take(text: str, reason: str) -> None:
    context = Context()
    assert context.duration(text, (), "it") is None
    assert reason in context.problems[0].message
    assert context.duration(text, (), "it", calendar=True, signed=True, zero=True) or text == "1d"


def test_nearest_ignores_case_and_gives_up_on_the_far_fetched() -> None:
    assert nearest("AT_LEST", ["at_least", "at_most"]) == "at_least"
    assert nearest("zebra", ["at_least", "at_most"]) == ""
