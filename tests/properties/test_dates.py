"""A wait for a date is over when the date says so: whatever happens to the date and to the person's clock meanwhile."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.times import DAY, HOUR, to_ms
from heliograph.decide.times import zone as zone_of
from tests.decide.driver import T0, World, journey, plan_document

WAIT = {"wait": {"date": "due", "offset": "-P1D", "grace": "PT6H", "else": [{"wait": "P99D", "id": "missed"}]}}
STEPS = [WAIT, {"wait": "P99D", "id": "met"}]
DATES = (
    st.dates(datetime(2026, 9, 18).date(), datetime(2026, 11, 5).date()).map(str)
    | st.datetimes(datetime(2026, 9, 18), datetime(2026, 11, 5)).map(lambda at: at.isoformat(timespec="seconds") + "Z")
    | st.sampled_from([None, "soon", 5])
)
ZONES = st.sampled_from(["Europe/London", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"])
HAPPENS = st.lists(
    st.tuples(st.just("due"), DATES)
    | st.tuples(st.just("timezone"), ZONES)
    | st.tuples(st.just("wait"), st.integers(1, 9 * DAY)),
    max_size=8,
)


def target(due, zone):
    """When the wait ends, by the standard library's calendar; None without a date."""
    if not isinstance(due, str) or due == "soon":
        return None
    at = datetime.fromisoformat(due)
    local = at if at.tzinfo else at.replace(tzinfo=zone_of(zone))
    return to_ms(local.astimezone(UTC) - timedelta(days=1))


@settings(max_examples=150, deadline=None)
@given(DATES, HAPPENS)
def test_a_run_is_where_its_date_says(due, happens):
    traits = {"due": due, "timezone": "Europe/London"}
    world = World(plan_document([journey(steps=STEPS)]))
    world.identify(traits=traits)
    world.track("Start")
    where = "wait-1"

    def settle(now):
        at = target(traits["due"], traits["timezone"])
        if where != "wait-1" or (at is not None and at > now):
            return where
        return "met" if at is not None and now - at <= 6 * HOUR else "missed"

    where = settle(T0)
    for what, value in happens:
        if what == "wait":
            at = target(traits["due"], traits["timezone"])
            if where == "wait-1" and at is not None and at <= world.now + value:
                where = "met"
            world.advance(value)
        else:
            world.advance(1)
            where = settle(world.now)
            traits[what] = value
            world.identify(traits={what: value})
            where = settle(world.now)
        assert [step for _, step in world.runs()] == [where]
        if where == "wait-1":
            (run_id,) = world.state().runs
            assert world.state().timers["r:" + run_id] == target(traits["due"], traits["timezone"])
