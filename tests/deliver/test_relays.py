"""Relays by weight among those that work; what fails is left alone for a while and then tried with one message."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.rates import DAY, NEVER, Rate
from heliograph.deliver.relays import FIRST_DOWN_MS, LONGEST_DOWN_MS, Relay, Ways

T0 = 20_000 * DAY


def back(relay: Relay) -> None:
    relay.in_flight -= 1
    relay.trying = False


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5))
def test_in_every_round_each_relay_gets_exactly_its_weight(weights: list[int], rounds: int) -> None:
    ways = Ways([Relay(f"r{n}", weight=weight) for n, weight in enumerate(weights)])
    for _ in range(rounds):
        got = Counter(ways.choose(T0).name for _ in range(sum(weights)))
        assert got == {f"r{n}": weight for n, weight in enumerate(weights)}


def test_turns_are_mixed_not_in_runs() -> None:
    ways = Ways([Relay("a", weight=5), Relay("b", weight=1), Relay("c", weight=1)])
    assert "".join(ways.choose(T0).name for _ in range(7)) == "aabacaa"


def test_a_relay_that_fails_is_down_for_longer_and_longer_and_probed_by_one_message() -> None:
    relay, now, length = Relay("a"), T0, FIRST_DOWN_MS
    ways = Ways([relay])
    for _ in range(10):
        relay.failed(now, "connection refused")
        assert ways.opens(now) == now + length
        relay.failed(now + 1, "connection refused")
        assert ways.opens(now) == now + length, "messages that were on their way to it say nothing new"
        now += length
        assert ways.opens(now) <= now and ways.choose(now) is relay
        assert ways.opens(now) == NEVER, "one probe at a time"
        back(relay)
        length = min(2 * length, LONGEST_DOWN_MS)
    relay.answered()
    assert relay.works and not relay.shaped and ways.opens(now) <= now


def test_a_spare_relay_is_for_the_time_when_all_others_are_down() -> None:
    main, spare = Relay("main"), Relay("spare", weight=0)
    ways = Ways([main, spare])
    assert {ways.choose(T0).name for _ in range(5)} == {"main"}
    assert ways.elsewhere(main)
    main.failed(T0, "refused")
    assert {ways.choose(T0).name for _ in range(5)} == {"spare"}
    later = T0 + FIRST_DOWN_MS
    assert [ways.choose(later).name for _ in range(4)].count("main") == 1, "one probes, the spare carries the rest"
    back(main)
    main.answered()
    assert ways.choose(later).name == "main"
    spare.failed(later, "refused")
    assert not ways.elsewhere(main)


def test_an_account_that_is_used_up_is_busy_not_down() -> None:
    small, large, spare = Relay("small", per_day=2), Relay("large"), Relay("spare", weight=0)
    ways = Ways([small, large, spare])
    assert Counter(ways.choose(T0).name for _ in range(10)) == {"small": 2, "large": 8}
    assert small.works
    only = Ways([Relay("capped", per_day=1), spare])
    only.choose(T0)
    assert only.opens(T0) == T0 + DAY, "a spare relay is not for accounts that are used up"


def test_a_rate_of_one_relay_leaves_the_rest_to_the_others() -> None:
    slow = Relay("slow", rate=Rate(1, 1000))
    ways = Ways([slow, Relay("fast")])
    assert Counter(ways.choose(T0).name for _ in range(20))["slow"] == 1


def test_a_relay_that_stalls_leaves_room_to_the_others() -> None:
    stalled, well = Relay("stalled", room=4), Relay("well", room=4)
    ways = Ways([stalled, well])
    for _ in range(50):
        assert ways.opens(T0) <= T0
        if ways.choose(T0) is well:
            back(well)
    assert stalled.in_flight == 4
