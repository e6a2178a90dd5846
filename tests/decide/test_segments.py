"""Segments stand in dependency order; what is cyclic is refused by name."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from heliograph.decide.parsing import Context
from heliograph.decide.segments import Segments, compile_segments


def documents(**conditions: Any) -> dict[str, Any]:
    return {name: {"name": name, "if": condition} for name, condition in conditions.items()}


def compiled(context: Context | None = None, **conditions: Any) -> Segments:
    context = context or Context()
    segments = compile_segments(documents(**conditions), context)
    assert not context.problems, [str(problem) for problem in context.problems]
    return segments


def test_a_segment_stands_behind_those_it_names() -> None:
    segments = compiled(a={"in_segment": "b"}, b={"not": {"in_segment": "c"}}, c={"did": {"event": "X"}})
    assert list(segments.by_name) == ["c", "b", "a"]
    assert [s.name for s in segments.dependents["c"]] == ["b"]
    leaf = segments.by_name["c"].condition.leaves[0]
    assert [s.name for s in segments.affected([leaf.id])] == ["c"]


def test_cycles_are_refused_by_name_and_once() -> None:
    context = Context()
    segments = compile_segments(
        documents(
            a={"in_segment": "b"}, b={"any": [{"in_segment": "c"}, {"everyone": True}]}, c={"in_segment": "a"},
            behind={"in_segment": "a"}, self={"not": {"in_segment": "self"}}, sound={"everyone": True},
        ),
        context,
    )  # fmt: skip
    assert [(p.path, p.message) for p in context.problems] == [
        (("segments", "a", "if"), "a cycle of segments: a -> b -> c -> a"),
        (("segments", "self", "if"), "a cycle of segments: self -> self"),
    ]
    assert list(segments.by_name) == ["sound"]


@given(st.dictionaries(st.sampled_from("abcdefg"), st.sets(st.sampled_from("abcdefg"), max_size=3), min_size=1))
def test_the_order_is_right_or_a_cycle_is_told(needs: dict[str, set[str]]) -> None:
    context = Context()
    nodes = {
        name: {"any": [{"everyone": True}, *({"in_segment": other} for other in sorted(named))]}
        for name, named in needs.items()
    }
    segments = compile_segments(documents(**nodes), context)
    order = list(segments.by_name)
    for name in order:
        assert all(order.index(other) < order.index(name) for other in needs[name] & needs.keys())
    assert bool(context.problems) is (len(order) < len(needs))


def test_what_is_true_of_nobody_in_particular() -> None:
    context = Context(topics={"offers": "required", "news": "assumed"})
    segments = compiled(
        context,
        all={"everyone": True},
        idle={"not": {"did": {"event": "X", "within": "P1D"}}},
        rare={"did": {"event": "X", "at_most": 3}},
        active={"did": {"event": "X"}},
        offers={"in_topic": "offers"},
        news={"in_topic": "news"},
        nested={"all": [{"in_segment": "idle"}, {"not": {"in_segment": "active"}}]},
        listed={"not": {"in_segment": "some list"}},
    )
    assert segments.true_when_empty == {"all", "idle", "rare", "news", "nested", "listed"}
    assert context.lists == {"some list"}
    assert [s.name for s in segments.by_topic["news"]] == ["news"]


def test_a_segment_keeps_its_id_when_only_its_spelling_changes() -> None:
    a = compiled(x={"all": [{"in_segment": "l"}, {"trait": {"path": "a", "is": 1}}]}).by_name["x"]
    b = compiled(x={"all": [{"trait": {"is": 1.0, "path": "a"}}, {"in_segment": "l"}]}).by_name["x"]
    assert a.id == b.id


def test_every_mistake_in_a_file_is_told() -> None:
    context = Context()
    compile_segments({"a": {"name": "b", "iff": {}}, "c": [], "d": {"name": "d", "if": {"trate": 1}}}, context)
    assert [str(problem) for problem in context.problems] == [
        "segments.a.iff: a segment has no `iff` (did you mean 'if'?)",
        "segments.a: a segment needs `if`",
        "segments.a.name: the segment 'a' calls itself 'b'",
        "segments.c: a segment is a mapping, not a list",
        "segments.d.if.trate: a condition has no `trate` (did you mean 'trait'?)",
    ]
