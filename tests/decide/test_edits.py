"""The edit table: what happens to a run that is under way when its journey is edited (docs/reference/journeys.md).

Each row is an edit, a rule (`on_edit`), where the run is when the edit is published, and the mails it gets from then on
with the minute of each, counted from the entry.  A wait before the edited step ends at minute 60, the edited step or
the wait in front of it is minute 60 to 120, what is behind it 120 to 180.
"""

from copy import deepcopy
from typing import Any, get_args

import pytest

from heliograph.decide.journeys.follow import VERBS
from heliograph.decide.journeys.program import Step
from heliograph.runtime.publishing import completed
from tests.decide.driver import DAY, MINUTE, World, journey, plan_document

Steps = list[dict[str, Any]]
Mails = list[tuple[int, str]]

LINE: Steps = [
    {"wait": "PT1H", "id": "before"},
    {"send": "a", "id": "a"},
    {"wait": "PT1H", "id": "here"},
    {"send": "b", "id": "b"},
    {"wait": "PT1H", "id": "after"},
    {"send": "c", "id": "c"},
]


def forked(test: dict[str, Any]) -> Steps:
    """A branch at minute 60; the arm of `test` waits until minute 120."""
    arm = [{"send": "yes", "id": "yes"}, {"wait": "PT1H", "id": "here"}]
    other = [{"send": "no", "id": "no"}, {"wait": "PT1H", "id": "there"}]
    return [
        {"wait": "PT1H", "id": "before"},
        {"branch": [{"if": test, "then": arm}, {"else": other}], "id": "fork"},
        {"wait": "PT1H", "id": "after"},
        {"send": "c", "id": "c"},
    ]


def drawn(plain: int, coupon: int) -> Steps:
    """A split at minute 60; each arm waits until minute 120."""
    arms = {
        "plain": {"weight": plain, "then": [{"send": "plain", "id": "plain"}, {"wait": "PT1H", "id": "here"}]},
        "coupon": {"weight": coupon, "then": [{"send": "coupon", "id": "coupon"}, {"wait": "PT1H", "id": "there"}]},
    }
    return [
        {"wait": "PT1H", "id": "before"},
        {"split": {"arms": arms}, "id": "lot"},
        {"wait": "PT1H", "id": "after"},
        {"send": "c", "id": "c"},
    ]


def edited(at: str, *instead: dict[str, Any]) -> Steps:
    """:data:`LINE` with these steps in the place of one."""
    return [new for step in LINE for new in (instead if step["id"] == at else (step,))]


EDITS: dict[str, tuple[Steps, Steps]] = {
    "insert": (LINE, edited("here", {"wait": "PT1H", "id": "here"}, {"send": "new", "id": "new"})),
    "delete": (LINE, edited("here")),
    "reorder": (LINE, [*LINE[:3], LINE[5], LINE[4], LINE[3]]),
    "shorten": (LINE, edited("here", {"wait": "PT20M", "id": "here"})),
    "rename": (LINE, [*edited("here", {"wait": "PT1H", "id": "pause"})[:-1], {"send": "d", "id": "c"}]),
    "branch": (forked({"trait": {"path": "vip", "is": True}}), forked({"trait": {"path": "tier", "is": "gold"}})),
    "weights": (drawn(99, 1), drawn(1, 99)),
}
"""Edit -> the steps before and after it."""

BEFORE, AT, AFTER = 30, 90, 150
"""The minute of the publish."""

TABLE: list[tuple[str, str, int, Mails]] = [
    # insert: a mail behind the wait at which the run may be
    ("insert", "pin", BEFORE, [(60, "a"), (120, "b"), (180, "c")]),
    ("insert", "pin", AT, [(120, "b"), (180, "c")]),
    ("insert", "pin", AFTER, [(180, "c")]),
    ("insert", "follow", BEFORE, [(60, "a"), (120, "new"), (120, "b"), (180, "c")]),
    ("insert", "follow", AT, [(120, "new"), (120, "b"), (180, "c")]),
    ("insert", "follow", AFTER, [(180, "c")]),
    # delete: the wait at which the run may be
    ("delete", "pin", BEFORE, [(60, "a"), (120, "b"), (180, "c")]),
    ("delete", "pin", AT, [(120, "b"), (180, "c")]),
    ("delete", "pin", AFTER, [(180, "c")]),
    ("delete", "follow", BEFORE, [(60, "a"), (60, "b"), (120, "c")]),
    ("delete", "follow", AT, [(120, "b"), (180, "c")]),  # its step is gone: it stays in its version
    ("delete", "follow", AFTER, [(180, "c")]),
    # reorder: the two mails behind it change places
    ("reorder", "pin", BEFORE, [(60, "a"), (120, "b"), (180, "c")]),
    ("reorder", "pin", AT, [(120, "b"), (180, "c")]),
    ("reorder", "pin", AFTER, [(180, "c")]),
    ("reorder", "follow", BEFORE, [(60, "a"), (120, "c"), (180, "b")]),
    ("reorder", "follow", AT, [(120, "c"), (180, "b")]),
    ("reorder", "follow", AFTER, [(180, "b")]),  # for the second time: what now stands behind its step is done
    # shorten: the wait at which the run may be, from 60 minutes to 20
    ("shorten", "pin", BEFORE, [(60, "a"), (120, "b"), (180, "c")]),
    ("shorten", "pin", AT, [(120, "b"), (180, "c")]),
    ("shorten", "pin", AFTER, [(180, "c")]),
    ("shorten", "follow", BEFORE, [(60, "a"), (80, "b"), (140, "c")]),
    ("shorten", "follow", AT, [(90, "b"), (150, "c")]),  # over since minute 80: at once
    ("shorten", "follow", AFTER, [(180, "c")]),
    # rename: the id of the wait at which the run may be (and the last template, to tell the versions apart)
    ("rename", "pin", BEFORE, [(60, "a"), (120, "b"), (180, "c")]),
    ("rename", "pin", AT, [(120, "b"), (180, "c")]),
    ("rename", "pin", AFTER, [(180, "c")]),
    ("rename", "follow", BEFORE, [(60, "a"), (120, "b"), (180, "d")]),
    ("rename", "follow", AT, [(120, "b"), (180, "c")]),  # an id that is not there: it stays in its version
    ("rename", "follow", AFTER, [(180, "d")]),
    # branch change: somebody who took one arm would take the other one now
    ("branch", "pin", BEFORE, [(60, "yes"), (180, "c")]),
    ("branch", "pin", AT, [(180, "c")]),
    ("branch", "pin", AFTER, [(180, "c")]),
    ("branch", "follow", BEFORE, [(60, "no"), (180, "c")]),
    ("branch", "follow", AT, [(180, "c")]),  # it has taken its arm, and finds its step there
    ("branch", "follow", AFTER, [(180, "c")]),
    # weights: somebody who drew one arm would draw the other one now
    ("weights", "pin", BEFORE, [(60, "plain"), (180, "c")]),
    ("weights", "pin", AT, [(180, "c")]),
    ("weights", "pin", AFTER, [(180, "c")]),
    ("weights", "follow", BEFORE, [(60, "coupon"), (180, "c")]),
    ("weights", "follow", AT, [(180, "c")]),  # a drawn arm is kept
    ("weights", "follow", AFTER, [(180, "c")]),
]


def test_the_table_is_whole() -> None:
    wanted = {(edit, rule, at) for edit in EDITS for rule in ("pin", "follow") for at in (BEFORE, AT, AFTER)}
    assert {row[:3] for row in TABLE} == wanted and len(TABLE) == len(wanted) == 42


@pytest.mark.parametrize(("edit", "rule", "minute", "mails"), TABLE, ids=lambda one: str(one) if one != [] else "")
def test_a_run_under_way_when_its_journey_is_edited(edit: str, rule: str, minute: int, mails: Mails) -> None:
    old, new = (document(steps, rule) for steps in EDITS[edit])
    world = World(old)
    world.identify(traits={"email": "ann@x.test", "vip": True})
    world.track("Start")
    pass_time(world, 0, minute)
    publish(world, new)
    found = [(minute, name) for name in world.deliver()] + pass_time(world, minute, 300)
    assert found == mails
    assert world.ended() == ["finished"]


def document(steps: Steps, rule: str = "follow", **parts: Any) -> dict[str, Any]:
    return plan_document([journey(steps=deepcopy(steps), on_edit=rule, **parts)])


def publish(world: World, document: dict[str, Any]) -> None:
    """As a server does: the versions that have runs stay in the plan."""
    active = {(run.journey, run.version) for key in world.blobs for run in world.state(key).runs.values()}
    world.publish(completed(document, world.plan.document, active))


def pass_time(world: World, begin: int, end: int) -> Mails:
    """Minute by minute, mailing what there is; (minute, template) of each mail."""
    sent: Mails = [(begin, name) for name in world.deliver()]
    for minute in range(begin + 1, end + 1):
        world.advance(MINUTE)
        while names := world.deliver():
            sent += [(minute, name) for name in names]
    return sent


def started(steps: Steps, minute: int, **parts: Any) -> World:
    world = World(document(steps, **parts))
    world.identify(traits={"email": "ann@x.test"})
    world.track("Start")
    pass_time(world, 0, minute)
    return world


def test_every_kind_of_step_is_known_by_its_verb() -> None:
    assert set(VERBS) == set(get_args(Step))


class TestFollow:
    def version(self, world: World) -> str:
        (run,) = world.state().runs.values()
        return run.version

    def test_a_moved_run_is_told_and_its_version_can_go(self) -> None:
        world = started(LINE, AT)
        before = self.version(world)
        publish(world, document(EDITS["insert"][1]))
        (fact,) = world.facts("run_moved")
        assert fact["version"] == before and fact["to"] == self.version(world) == world.plan.journeys["j"].version

    def test_a_step_without_an_id_of_its_own_is_not_found_again(self) -> None:
        unnamed = [{"wait": "PT1H"}, {"send": "a"}]
        world = started(unnamed, BEFORE)
        before = self.version(world)
        publish(world, document([{"wait": "PT2H"}, {"send": "a"}]))
        assert self.version(world) == before and not world.facts("run_moved")
        assert pass_time(world, BEFORE, 200) == [(60, "a")]

    def test_naming_the_steps_of_the_new_version_is_enough(self) -> None:
        world = started([{"wait": "PT1H"}, {"send": "a"}], BEFORE)
        publish(world, document([{"wait": "PT2H", "id": "wait-1"}, {"send": "a"}]))
        assert pass_time(world, BEFORE, 200) == [(120, "a")]

    def test_a_step_that_became_another_verb_is_not_the_same_step(self) -> None:
        world = started(LINE, BEFORE)
        publish(world, document(edited("before", {"send": "new", "id": "before"})))
        assert not world.facts("run_moved")
        assert pass_time(world, BEFORE, 300) == [(60, "a"), (120, "b"), (180, "c")]

    def test_a_wait_may_be_written_in_another_form(self) -> None:
        world = started(LINE, BEFORE)
        publish(world, document(edited("before", {"wait": {"until": {"time": "18:00"}}, "id": "before"})))
        assert [name for _, name in pass_time(world, BEFORE, 240)].count("a") == 1

    def test_exits_of_the_new_version_hold_and_one_that_is_true_already_ends_the_run(self) -> None:
        world = started(LINE, AT)
        publish(world, document(LINE, exit=[{"event": "Stop"}]))
        world.track("Stop")
        assert world.ended() == ["exited"]
        world = started(LINE, AT)
        publish(world, document(LINE, exit=[{"if": {"trait": {"path": "email", "exists": True}}}]))
        assert world.ended() == ["exited"]

    def test_a_wait_until_takes_the_new_paths_and_the_new_timeout(self) -> None:
        def until(timeout: str, *paths: dict[str, Any]) -> Steps:
            return [{"wait_until": {"any": [*paths], "timeout": timeout}, "id": "w"}, {"send": "a", "id": "a"}]

        path = {"event": "Never"}
        world = started(until("PT5H", path), 60)
        publish(world, document(until("PT2H", path)))
        assert pass_time(world, 60, 200) == [(120, "a")]
        world = started(until("PT5H", path), 60)
        publish(world, document(until("PT30M", path)))
        assert world.deliver() == ["a"]
        world = started(until("PT5H", path), 60)
        publish(world, document(until("PT5H", path, {"if": {"trait": {"path": "email", "exists": True}}})))
        assert world.deliver() == ["a"]
        world = started(until("PT5H", path), 60)
        publish(world, document(until("PT5H", path, {"event": "Yes"})))
        world.track("Yes")
        assert world.deliver() == ["a"]

    def test_a_mail_on_its_way_stays_and_the_new_version_follows_it(self) -> None:
        world = World(document([{"send": "a", "id": "a"}, {"send": "b", "id": "b"}]))
        world.identify(traits={"email": "ann@x.test"})
        world.track("Start")
        publish(world, document([{"send": "a", "id": "a"}, {"send": "c", "id": "c"}]))
        assert len(world.messages) == 1
        assert pass_time(world, 0, 1) == [(0, "a"), (1, "c")]

    def test_somebody_held_out_is_watched_as_long_as_the_new_goal_says(self) -> None:
        goal = {"event": "Order Completed", "within": "P1D"}
        world = World(document(LINE, holdout="99%", goal=goal))
        user = next(str(n) for n in range(50) if held_out(world, str(n)))
        world.advance(2 * 60 * MINUTE)
        publish(world, document(LINE, holdout="99%", goal={**goal, "within": "PT1H"}))
        assert world.ended(f"u:{user}") == ["held_out"]
        assert not world.messages

    def test_an_arm_is_kept_when_the_run_comes_by_again(self) -> None:
        def loop(plain: int, coupon: int) -> Steps:
            arms = {"plain": {"weight": plain, "then": [{"send": "plain", "id": "plain"}]},
                    "coupon": {"weight": coupon, "then": [{"send": "coupon", "id": "coupon"}]}}  # fmt: skip
            return [
                {"split": {"arms": arms}, "id": "lot"},
                {"wait": "PT1H", "id": "pause"},
                {"branch": [{"if": {"everyone": True}, "then": {"goto": "lot"}}], "id": "back"},
            ]

        world = started(loop(99, 1), 30)
        publish(world, document(loop(1, 99)))
        assert [name for _, name in pass_time(world, 30, 130)] == ["plain", "plain"]

    def test_a_run_that_stayed_moves_when_a_later_version_has_its_step(self) -> None:
        world = started(LINE, AT)
        publish(world, document(EDITS["rename"][1]))
        assert not world.facts("run_moved")
        publish(world, document(EDITS["shorten"][1]))
        assert world.deliver() == ["b"]

    def test_going_back_takes_the_runs_back(self) -> None:
        world = started(LINE, AT)
        first = self.version(world)
        publish(world, document(EDITS["insert"][1]))
        publish(world, document(LINE))
        assert self.version(world) == first
        assert pass_time(world, AT, 300) == [(120, "b"), (180, "c")]

    def test_the_run_meets_the_plan_with_its_next_record_when_no_sweep_has_come(self) -> None:
        world = started(LINE, AT)
        active = {(run.journey, run.version) for run in world.state().runs.values()}
        new = completed(document(EDITS["shorten"][1]), world.plan.document, active)
        world.publish(new, touch=False)
        world.track("Anything")
        assert world.deliver() == ["b"]

    def test_a_pinned_version_stays_as_long_as_somebody_is_in_it(self) -> None:
        world = started(LINE, AT, rule="pin")
        publish(world, document(EDITS["insert"][1], "pin"))
        publish(world, plan_document([]))
        assert pass_time(world, AT, 300) == [(120, "b"), (180, "c")]
        publish(world, plan_document([]))
        assert not world.plan.all_journeys and world.ended() == ["finished"]

    def test_a_goal_is_still_reached_when_the_version_of_the_run_is_gone(self) -> None:
        goal = {"event": "Order Completed", "within": "P3D"}
        world = started([{"wait": "PT1H", "id": "w"}], 90, goal=goal)
        assert world.ended() == ["finished"]
        for name in ("x", "y"):
            publish(world, document([{"wait": "PT1H", "id": "w"}, {"send": name, "id": name}], goal=goal))
        world.advance(DAY)
        world.track("Order Completed")
        assert len(world.facts("goal")) == 1


def held_out(world: World, user: str) -> bool:
    world.identify(user, traits={"email": f"{user}@x.test"})
    world.track("Start", user)
    return any(run.held_out for run in world.state(f"u:{user}").runs.values())
