"""Reading policies: what is taken, what is refused and where, and the defaults."""

from typing import Any

import pytest

from heliograph.decide import compile_plan
from heliograph.decide.plan import PlanErrors
from heliograph.decide.policies import Cap, Policies, QuietHours
from tests.decide.driver import DAY, HOUR, MINUTE, journey, plan_document


def read(**policies: Any) -> Policies:
    return compile_plan(plan_document(topics={"offers": "required"}, policies=policies), 1).policies


def problems(**policies: Any) -> list[tuple[str, str]]:
    with pytest.raises(PlanErrors) as found:
        read(**policies)
    return [(".".join(map(str, one.path)), one.hint) for one in found.value.problems]


def test_without_a_word_there_is_no_pressure():
    assert read() == Policies(HOUR, 3 * DAY, (), None, 0, 0.0)


def test_every_key_is_read():
    cap = {"max": 3, "per": "P7D", "topics": ["offers"], "when_exceeded": "defer", "defer_for": "P2D"}
    found = read(
        caps=[cap, {"max": 1, "per": "P31D"}], quiet_hours={"from": "21:00", "to": "08:00"}, arbitrate="PT5M",
        global_holdout="2.5%", act_within="PT2H", allowed_lateness="P1D",
    )  # fmt: skip
    assert found.caps == (Cap(3, 7 * DAY, frozenset(["offers"]), 2 * DAY), Cap(1, 31 * DAY))
    assert [one.text for one in found.caps] == ["3 per 7 days", "1 per 31 days"]
    assert isinstance(found.quiet_hours, QuietHours) and found.quiet_hours.zone == "person"
    assert (found.arbitrate_ms, found.global_holdout) == (5 * MINUTE, 0.025)
    assert (found.act_within_ms, found.allowed_lateness_ms) == (2 * HOUR, DAY)
    assert found.caps_on("offers") == found.caps and found.caps_on("marketing") == found.caps[1:]


def test_the_time_scale_does_not_divide_them():
    document = plan_document(policies={"caps": [{"max": 1, "per": "P7D"}], "arbitrate": "PT5M"}, time_scale=360)
    found = compile_plan(document, 1).policies
    assert (found.caps[0].per_ms, found.arbitrate_ms) == (7 * DAY, 5 * MINUTE)


@pytest.mark.parametrize(("cap", "path", "hint"), [
    ({"max": 0, "per": "P7D"}, "caps.0.max", ""),
    ({"max": 101, "per": "P7D"}, "caps.0.max", ""),
    ({"max": True, "per": "P7D"}, "caps.0.max", ""),
    ({"max": 1, "per": "P32D"}, "caps.0.per", ""),
    ({"max": 1, "per": "P1M"}, "caps.0.per", ""),
    ({"max": 1}, "caps.0", ""),
    ({"max": 1, "per": "P7D", "topics": ["ofers"]}, "caps.0.topics.0", "offers"),
    ({"max": 1, "per": "P7D", "topics": []}, "caps.0.topics", ""),
    ({"max": 1, "per": "P7D", "when_exceeded": "deffer"}, "caps.0.when_exceeded", "defer"),
    ({"max": 1, "per": "P7D", "when_exceeded": "defer"}, "caps.0", ""),
    ({"max": 1, "per": "P7D", "when_exceeded": "skip", "defer_for": "P1D"}, "caps.0.defer_for", ""),
    ({"max": 1, "per": "P7D", "when_exceeded": "defer", "defer_for": "P40D"}, "caps.0.defer_for", ""),
    ({"maximum": 1, "max": 1, "per": "P7D"}, "caps.0.maximum", "max"),
    ("3 per week", "caps.0", ""),
])  # fmt: skip
def test_a_wrong_cap_is_named(cap: Any, path: str, hint: str):
    assert problems(caps=[cap]) == [(f"policies.{path}", hint)]


@pytest.mark.parametrize(("policies", "path", "hint"), [
    ({"caps": {}}, "caps", ""),
    ({"caps": [{"max": 1, "per": "P7D"}] * 17}, "caps", ""),
    ({"quiet_hours": {"from": "21:00"}}, "quiet_hours", ""),
    ({"quiet_hours": {"from": "21:00", "to": "21:00"}}, "quiet_hours", ""),
    ({"quiet_hours": {"from": "9pm", "to": "08:00"}}, "quiet_hours.from", ""),
    ({"quiet_hours": {"from": "21:00", "to": 8}}, "quiet_hours.to", ""),
    ({"quiet_hours": {"from": "21:00", "to": "08:00", "timezone": "Europe/Londn"}}, "quiet_hours.timezone",
     "Europe/London"),
    ({"arbitrate": "P2D"}, "arbitrate", ""),
    ({"global_holdout": "100%"}, "global_holdout", ""),
    ({"global_holdout": 0.1}, "global_holdout", ""),
    ({"quiet_hour": {}}, "quiet_hour", "quiet_hours"),
])  # fmt: skip
def test_other_wrong_policies_are_named(policies: dict[str, Any], path: str, hint: str):
    assert problems(**policies) == [(f"policies.{path}", hint)]


def test_what_cannot_have_an_effect_is_a_warning():
    document = plan_document([journey()], policies={"arbitrate": "PT1H"}, templates={"mail": {"freshness_ms": HOUR}})
    warned = [".".join(map(str, one.path)) for one in compile_plan(document, 1).warnings]
    assert warned == ["policies.arbitrate", "templates.mail.freshness"]
