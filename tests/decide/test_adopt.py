"""Who moves in from another deployment goes on as if nothing had happened; whoever is here already stays."""

from heliograph import decide
from heliograph.events.ids import WORKSPACE
from heliograph.events.record import Adopt, Record, Wake, decode_record, encode_record
from tests.decide.driver import DAY, MINUTE, World, journey, plan_document

WAITS = plan_document([journey(entry={"event": "Signed Up"}, steps=[{"wait": "P1D"}, {"send": "hello"}])])


def lived() -> tuple[World, bytes]:
    """A world in which somebody waits in a journey, and the blob of that person."""
    w = World(WAITS)
    w.identify("ann", {"email": "ann@shop.example"})
    w.track("Signed Up", "ann")
    return w, w.blobs["u:ann"]


def adopt(state: decide.State, blob: bytes, plan: decide.Plan, at: int) -> tuple[decide.State, list[str]]:
    record = Record(state.key, "moved", at, plan.version, Adopt(blob), 0, WORKSPACE)
    state, effects = decide.step(state, decode_record(encode_record(record)), plan)
    return state, [effect.kind for effect in effects if hasattr(effect, "kind")]


def test_the_state_is_taken_as_it_is() -> None:
    w, blob = lived()
    state, told = adopt(decide.new_state("u:ann"), blob, w.plan, w.now + MINUTE)
    assert decide.encode_state(state) == blob and told == ["adopted"]


def test_a_run_goes_on_and_does_not_start_again() -> None:
    w, blob = lived()
    state, _ = adopt(decide.new_state("u:ann"), blob, w.plan, w.now + MINUTE)
    wake = Record("u:ann", "wake", w.now + 2 * DAY, w.plan.version, Wake())
    here, _ = decide.step(decide.decode_state(blob), wake, w.plan)
    there, effects = decide.step(state, wake, w.plan)
    assert decide.encode_state(there) == decide.encode_state(here)
    sent = [effect for effect in effects if type(effect).__name__ == "DecideMessage"]
    assert [message.template for message in sent] == ["hello"]


def test_nobody_is_replaced() -> None:
    w, blob = lived()
    other = World(WAITS)
    other.identify("ann", {"email": "other@shop.example"})
    before = other.blobs["u:ann"]
    state, told = adopt(decide.decode_state(before), blob, w.plan, w.now + MINUTE)
    assert decide.encode_state(state) == before and told == ["adopted"]
