"""Pieces of a walk: done where they were meant to be done, and nowhere else; and what comes after the walk."""

from collections.abc import Callable

import pytest

from heliograph import decide
from heliograph.adapters.memory import MemoryStore
from heliograph.ports import Commit
from heliograph.runtime import broadcaster, mailwire
from heliograph.runtime.broadcaster import PIECE
from heliograph.runtime.offering import Offers, everybody
from heliograph.runtime.pace import finish
from tests.runtime.harness import DAY, HOUR, call, identify
from tests.runtime.shouting import Town, plan

CAP = {
    "topics": {"offers": {"consent": "assumed"}},
    "caps": [{"max": 1, "per": "P1D", "when_exceeded": "defer", "defer_for": "P3D"}],
}


def pieces(town: Town, broadcast_id: str, portion: int = 3 * PIECE) -> list[Offers]:
    works = finish(town.crank._broadcaster.works(broadcast_id, portion))
    return [work for work in works if isinstance(work, Offers)]


def test_pieces_follow_each_other_and_each_says_how_far_it_came() -> None:
    town = Town()
    town.settle_many(40)
    broadcast_id = town.start()
    first, second, third = pieces(town, broadcast_id)
    town.crank.do(first)
    assert (first.result, town.row(broadcast_id).after) == (True, first._end)
    town.crank.do(third)
    assert not third.result, "a piece behind one that was not done is not done either"
    town.crank.do(second)
    town.crank.do(second)
    assert (second.result, town.row(broadcast_id).after) == (False, second._end)
    town.run()
    town.check(broadcast_id)


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda town, name: town.crank.move_broadcast(name, "pause"),
        lambda town, name: town.crank.hold(f"broadcast:{name}"),
        lambda town, name: town.crank.move_broadcast(name, "cancel"),
        lambda town, _name: town.crank.publish(plan(segments={})),
    ],
)
def test_what_was_read_before_something_changed_is_not_offered(meanwhile: Callable[[Town, str], object]) -> None:
    town = Town()
    town.settle_many(20)
    broadcast_id = town.start()
    read = pieces(town, broadcast_id)
    meanwhile(town, broadcast_id)
    for piece in read:
        town.crank.do(piece)
    assert [piece.result for piece in read] == [False] * len(read)
    assert town.row(broadcast_id).offered == 0


def test_whose_past_changes_hands_while_it_is_read_is_looked_at_again() -> None:
    town = Town()
    names = town.settle_many(16)
    town.crank.collect([call("Cheese Tasted", name) for name in names])
    town.crank.collect([call("Cheese Tasted", None, anonymous=f"d{number}") for number in range(16)])
    broadcast_id = town.start(audience={"if": {"did": {"event": "Cheese Tasted", "at_least": 2}}})
    read = pieces(town, broadcast_id, 512)
    for number, name in enumerate(names):
        town.crank.collect([identify(name, anonymous=f"d{number}")])
    for piece in read:
        town.crank.do(piece)
    assert town.row(broadcast_id).again and not town.row(broadcast_id).people
    town.run()
    assert town.row(broadcast_id).messages == {"sent": 16}
    town.check(broadcast_id)


def test_it_is_finished_while_a_cap_still_puts_some_off_and_they_get_it_later() -> None:
    town = Town(written=plan(policies=CAP))
    town.settle("ann", "bob")
    town.crank.collect([call("Product Added", "ann", cart_id="c")])
    town.clock.advance(HOUR)
    town.crank.wake()
    town.run()
    broadcast_id = town.start()
    town.run()
    row = town.row(broadcast_id)
    assert (row.status, row.messages) == ("finished", {"sent": 1, "deferred": 1})
    town.crank.publish(plan(policies=CAP, segments={}))
    assert broadcast_id in town.crank.plan.broadcasts, "somebody is still on the way"
    town.clock.advance(2 * DAY)
    town.crank.wake()
    town.run()
    assert town.row(broadcast_id).messages == {"sent": 2}
    town.crank.publish(plan(segments={}))
    assert not town.crank.plan.broadcasts
    town.check(broadcast_id)


def test_somebody_who_cannot_be_decided_is_passed_over_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    town.settle_many(8)
    broadcast_id = town.start()
    (piece, *_) = pieces(town, broadcast_id)
    piece._at = piece._items[0].key
    assert piece.isolate()
    town.crank.do(piece)
    assert town.row(broadcast_id).refused == {"undecidable": 1}


def test_a_rate_never_catches_up_by_more_than_a_second() -> None:
    town = Town()
    town.settle_many(100)
    broadcast_id = town.start(rate="10/s")
    town.run()
    town.clock.advance(HOUR)
    before = town.row(broadcast_id).people["entered"]
    town.run()
    assert town.row(broadcast_id).people["entered"] - before <= 11


@pytest.mark.parametrize("most", [60, 30])
def test_who_waits_for_their_receiver_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    for name, bound in (("MAX_AHEAD", 20), ("LEAST_ROOM", 10), ("MAX_WAITING", most)):
        monkeypatch.setattr(broadcaster, name, bound)
    town = Town()
    people = [f"p{number}@{'slow' if number % 2 else 'fast'}.test" for number in range(100)]
    town.crank.collect([identify(address, email=address) for address in people])
    broadcast_id = town.start()
    while town.crank.broadcast() or serve(town):
        assert town.row(broadcast_id).messages.get("queued", 0) <= most
    sent = town.row(broadcast_id).messages["sent"]
    assert sent == 50 if most > 50 else sent < 50


def serve(town: Town) -> bool:
    """One receiver takes everything, the other puts everything off."""
    town.crank.offer()
    jobs = [job for one in town.mailer.heard if isinstance(one, mailwire.Offer) for job in one.jobs]
    town.mailer.heard.clear()
    if jobs:
        town.ask([job.message_id for job in jobs])
        town.report([job.message_id for job in jobs if "fast" in job.address], "sent")
        town.report([job.message_id for job in jobs if "slow" in job.address], "retry")
    return bool(jobs)


def test_keys_that_were_merged_into_others_are_nobody() -> None:
    """Few people are counted; of many a sample tells the share, here within four standard errors of it."""
    for people, error in ((100, 0.0), (3_000, 0.13)):
        store = MemoryStore()
        stubs = {f"s:{n}": decide.encode_state(decide.State(f"s:{n}", forward=f"u:{n}")) for n in range(people)}
        store.commit(
            Commit(states=stubs | {f"u:{n}": decide.encode_state(decide.State(f"u:{n}")) for n in range(people)})
        )
        assert everybody(store) == pytest.approx(people, rel=error)
    assert everybody(MemoryStore()) == 0
