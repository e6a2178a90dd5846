"""Laws of arms: everybody gets one, once and for ever, in the proportion that is written."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decide.driver import HOUR, World, journey, plan_document

WEIGHTS = st.lists(st.integers(1, 10) | st.floats(0.1, 10), min_size=1, max_size=5)


def document(weights, **more):
    arms = {f"arm{at}": {"weight": weight, "then": [{"wait": "PT1H"}]} for at, weight in enumerate(weights)}
    steps = [{"split": {"arms": arms}, "id": "lot"}, {"wait": "PT1H"}, {"goto": "lot"}]
    return plan_document([journey(steps=steps, on_edit="pin", **more)])


def arms_of(world, user):
    return [fact["arm"] for fact in world.facts("run_step", f"u:{user}") if fact["what"] == "split"]


@settings(max_examples=15, deadline=None)
@given(WEIGHTS, st.integers(0, 10**6))
def test_arms_sum_to_entrants_in_about_the_proportion_of_their_weights(weights, first):
    world = World(document(weights))
    people = range(first, first + 300)
    for person in people:
        world.track("Start", str(person))
    drawn = [arms_of(world, person) for person in people]
    assert all(len(arms) == 1 for arms in drawn)
    for at, weight in enumerate(weights):
        share = sum(arms == [f"arm{at}"] for arms in drawn) / 300
        expected = weight / sum(weights)
        assert abs(share - expected) < 5 * (expected * (1 - expected) / 300) ** 0.5 + 0.01


@settings(max_examples=10, deadline=None)
@given(WEIGHTS, st.lists(st.sampled_from(["login", "publish", "wait"]), max_size=6))
def test_nobody_changes_arms(weights, happens):
    """Whatever weights are published, whoever turns out to be whom, however often the split is passed."""
    world = World(document(weights))
    for person in range(20):
        world.track("Start", None, anon=f"d{person}")
    for what in happens:
        if what == "wait":
            world.advance(3 * HOUR)
        if what == "publish":
            old = world.plan.journeys["j"]
            weights = list(reversed(weights))
            new = document(weights)
            world.publish({**new, "pinned": {f"j@{old.version}": old.document}})
        for person in range(20) if what == "login" else ():
            world.identify(str(person), anon=f"d{person}")
    world.advance(3 * HOUR)
    for person in range(20):
        keys = (f"a:d{person}", f"u:{person}")
        facts = [fact for key in keys for fact in world.facts("run_step", key) if fact["what"] == "split"]
        found = {fact["arm"] for fact in facts}
        assert len(found) == 1
