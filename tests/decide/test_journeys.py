"""Reading plans and journeys: what is accepted, what is refused and with which words."""

import pytest

from heliograph.decide import PlanErrors, compile_plan, journey_version, templates_of
from tests.decide.driver import DAY, HOUR, MINUTE, journey, plan_document


def problems(document):
    with pytest.raises(PlanErrors) as refused:
        compile_plan(document, 1)
    return [(".".join(map(str, one.path)), one.message, one.hint) for one in refused.value.problems]


def problem(*journeys, **more):
    (found,) = problems(plan_document(list(journeys), {"vip": {"everyone": True}}, **more))
    return found


def warnings(*journeys):
    return [one.message for one in compile_plan(plan_document(list(journeys)), 1).warnings]


@pytest.mark.parametrize(("parts", "path"), [
    ({"steps": [{"coupon": {}}]}, "journeys.j.steps.0.coupon"),
    ({"entry": {"item": {}}}, "journeys.j.entry.item"),
])  # fmt: skip
def test_words_of_later_versions_are_refused_by_name(parts, path):
    found = problems(plan_document([journey(**parts)], templates={"mail": {}}))
    assert [(at, "not in this version" in message) for at, message, _ in found if at == path] == [(path, True)]


@pytest.mark.parametrize(("wrong", "path", "hint"), [
    ({"topic": "ofers"}, "topic", "offers"),
    ({"steps": [{"send": "mial"}]}, "steps.0.send", "mail"),
    ({"entry": {"segment": "vp"}}, "entry.segment", "vip"),
    ({"steps": [{"sendd": "mail"}]}, "steps.0.sendd", "send"),
    ({"steps": [{"wait": {"until": {"time": "09:00", "timezone": "Europe/Londn"}}}]}, "steps.0.wait.until.timezone",
     "Europe/London"),
    ({"entry": {"event": "A", "on_repeat": "restrat"}}, "entry.on_repeat", "restart"),
    ({"exits": []}, "exits", "exit"),
    ({"steps": [{"wait_until": {"any": [{"event": "Email Clicked", "message": "send-mial"}]}}, {"send": "mail"}]},
     "steps.0.wait_until.any.0.message", "send-mail"),
    ({"steps": [{"send": "mail", "on_failure": "exti"}]}, "steps.0.on_failure", "exit"),
])  # fmt: skip
def test_a_wrong_word_is_answered_with_the_nearest_right_one(wrong, path, hint):
    document = plan_document([journey(**wrong)], {"vip": {"everyone": True}}, topics={"offers": "required"})
    document["templates"] = {"mail": {"name": "mail", "version": "v1"}}
    assert [(at, near) for at, _, near in problems(document)] == [(f"journeys.j.{path}", hint)]


@pytest.mark.parametrize("parts", [
    {"entry": {}}, {"entry": {"event": "A", "segment": "vip"}}, {"entry": {"segment": "vip", "key": "properties.x"}},
    {"entry": {"event": "A", "key": "x"}}, {"entry": {"event": "A", "reentry": "sometimes"}},
    {"entry": {"segment": "vip"}, "exit": [{"event": "A", "match": "properties.x"}]},
    {"exit": {"event": "A"}}, {"exit": [{"event": "A", "if": {"everyone": True}}]}, {"exit": [{}]},
    {"goal": {"event": "A"}}, {"holdout": "100%"}, {"holdout": 5}, {"holdout": "x%"}, {"priority": "high"},
    {"steps": []}, {"steps": "send"}, {"steps": ["send"]}, {"steps": [{"id": "a"}]},
    {"steps": [{"wait": "30 minutes"}]}, {"steps": [{"wait": "PT0S"}]}, {"steps": [{"wait": {}}]},
    {"steps": [{"wait": {"until": {"time": "25:00"}}}]}, {"steps": [{"exit": False}]},
    {"steps": [{"branch": [{"else": "exit"}, {"if": {"everyone": True}}]}]},
    {"steps": [{"wait_until": {"any": []}}]}, {"steps": [{"wait_until": {"any": [{"then": "exit"}]}}]},
    {"name": "other"}, {"steps": [{"send": "mail", "wait": "PT1M"}]},
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_place(parts):
    document = plan_document(segments={"vip": {"everyone": True}}, templates={"mail": {}})
    document["journeys"] = {"j": journey(**parts)}
    found = problems(document)
    assert found and all(path.startswith("journeys.j") for path, _, _ in found)


def test_equal_ids_are_an_error():
    path, message, _ = problem(journey(steps=[{"send": "mail"}, {"send": "mail"}]))
    assert path == "journeys.j.steps.1.id" and "send-mail" in message


def test_default_ids_count_each_kind_in_the_order_of_the_document():
    arms = [{"if": {"everyone": True}, "then": [{"wait": "PT1M"}]}, {"else": "exit"}]
    steps = [{"wait": "PT1M"}, {"branch": arms}, {"wait": "PT1M", "id": "third"}, {"wait": "PT1M"}, {"send": "mail"}]
    compiled = compile_plan(plan_document([journey(steps=steps)]), 1).journeys["j"]
    assert set(compiled.index) == {"wait-1", "branch-1", "wait-2", "third", "wait-4", "send-mail"}
    assert templates_of(compiled) == {"mail"}


def test_steps_that_cannot_be_reached_are_warned_of():
    assert warnings(journey(steps=[{"exit": True}, {"send": "mail"}])) == ["this step is never reached"]
    everywhere = {"branch": [{"if": {"everyone": True}, "then": "exit"}, {"else": [{"exit": True}]}]}
    nested = {"branch": [{"if": {"everyone": True}, "then": [{"send": "mail"}]}]}
    assert warnings(journey(steps=[everywhere, nested])) == ["this step is never reached"]
    assert warnings(journey(steps=[{"send": "mail"}])) == []


def test_an_unknown_segment_in_a_condition_is_taken_for_a_list_with_a_warning():
    (warning,) = warnings(journey(entry={"event": "A", "if": {"in_segment": "spring"}}))
    assert "spring" in warning


def test_all_problems_are_told_at_once():
    document = plan_document([journey(topic="x", steps=[{"coupon": {}}, {"wait": 5}])], {"s": {"everybody": True}})
    document["surprise"] = 1
    assert len(problems(document)) == 5


@pytest.mark.parametrize("change", [
    {"format": 2}, {"project": {"timezone": "Mars"}}, {"project": {"time_scale": 0}}, {"journeys": []},
    {"policies": {"topics": {"!x": {"consent": "required"}}}}, {"policies": {"act_within": "P1M"}},
    {"policies": {"topics": {"a": {"consent": "maybe"}}}}, {"policies": {"topics": []}}, {"templates": {"a": 1}},
    {"segments": {"a": {"name": "a", "if": {"in_segment": "a"}}}},
])  # fmt: skip
def test_a_document_that_is_no_plan_is_refused(change):
    assert problems({**plan_document(), **change})


def test_the_time_scale_divides_durations_of_journeys_and_segments_but_not_policies():
    segments = {"s": {"did": {"event": "A", "within": "PT2H"}}}
    goal = {"event": "B", "within": "P1D"}
    plan = compile_plan(plan_document([journey(steps=[{"wait": "PT1H"}], goal=goal)], segments, time_scale=60), 1)
    compiled = plan.journeys["j"]
    assert compiled.program[0].duration.ms == MINUTE
    assert compiled.goal.within_ms == DAY // 60
    assert plan.segments.by_name["s"].condition.within == 2 * MINUTE
    assert plan.act_within_ms == HOUR and plan.allowed_lateness_ms == 3 * DAY


def test_a_version_names_the_content_of_a_journey():
    document = journey()
    assert journey_version(document) == journey_version(dict(reversed(document.items())))
    assert journey_version(document) != journey_version(journey(priority=1))
    assert len(journey_version(document)) == 8


def test_an_older_version_that_does_not_read_any_more_is_dropped_with_a_warning():
    document = plan_document([journey()])
    document["pinned"] = {"j@aaaaaaaa": journey(steps=[{"coupon": "x"}]), "k@bbbbbbbb": journey("k", topic="gone")}
    plan = compile_plan(document, 1)
    assert [name for name, _ in plan.all_journeys] == ["k", "j"]
    assert list(plan.warnings[0].path) == ["pinned", "j@aaaaaaaa"]


def test_runs_of_an_older_version_go_on_when_the_segment_they_entered_by_is_gone():
    document = plan_document([])
    document["pinned"] = {"j@aaaaaaaa": journey(entry={"segment": "gone"})}
    plan = compile_plan(document, 2)
    assert not plan.warnings
    assert [name for name, _ in plan.all_journeys] == ["j"]


def test_names_mean_themselves_in_any_unicode_form():
    plan = compile_plan(plan_document([journey(entry={"event": "Café"})]), 1)
    assert list(plan.entries_by_event) == ["Café"]
