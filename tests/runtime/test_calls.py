"""Law: whatever comes, goes and fails, pending requests are made once at a time, within every bound, none is lost."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from heliograph.runtime.calls import Call, Calls, host_of
from tests.contracts.samples import request

BOUND, A_HOST, AT_ONCE, AT_ONCE_A_HOST = 12, 6, 4, 2
HOSTS = ["http://a.test/1", "http://a.test:80/2", "https://b.test/", "https://me:x@B.test/"]


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls(BOUND, A_HOST, AT_ONCE, AT_ONCE_A_HOST)
        self.now = 0
        self.held: dict[str, int] = {}
        """id -> due"""
        self.under_way: dict[str, Call] = {}
        self.over: set[str] = set()
        """Given up, and its answer not on disk yet."""
        self.numbers = 0

    @rule(url=st.sampled_from(HOSTS), life=st.integers(1, 60), count=st.integers(1, 4))
    def add(self, url: str, life: int, count: int) -> None:
        for _ in range(count):
            self.numbers += 1
            row = request(f"r{self.numbers}", url=url, created_at=self.now, give_up_at=self.now + life)
            same = sum(host_of(self.calls.get(one).row.url) == host_of(url) for one in self.held)  # type: ignore[union-attr]
            assert self.calls.add(row) == (len(self.held) < BOUND and same < A_HOST)
            if self.calls.get(row.request_id) is not None:
                self.held[row.request_id] = self.now
            else:
                assert host_of(url) in self.calls.refused

    @rule()
    def take_all(self) -> None:
        while (call := self.calls.take(self.now)) is not None:
            name = call.row.request_id
            assert name in self.held and name not in self.under_way and name not in self.over
            assert self.held[name] <= self.now
            self.under_way[name] = call
        self.none_waits_without_reason()

    def none_waits_without_reason(self) -> None:
        """All slots are taken, or those of its host are."""
        if len(self.under_way) == AT_ONCE:
            return
        for name, due in self.held.items():
            call = self.calls.get(name)
            assert call is not None
            waits = due <= self.now and name not in self.under_way and name not in self.over
            assert not waits or call.host.under_way == AT_ONCE_A_HOST, name

    @rule(data=st.data(), again=st.integers(0, 30))
    def end_a_try(self, data: st.DataObject, again: int) -> None:
        if not self.under_way:
            return
        name = data.draw(st.sampled_from(sorted(self.under_way)))
        call = self.under_way.pop(name)
        self.calls.release(call)
        if call.gone:
            return
        if again and self.now + again < call.row.give_up_at:
            self.calls.again(call, self.now + again)
            self.held[name] = self.now + again
        else:
            self.over.add(name)

    @rule(ms=st.integers(1, 40))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        for call in self.calls.overdue(self.now):
            name = call.row.request_id
            assert name in self.held and name not in self.under_way and name not in self.over
            assert call.row.give_up_at <= self.now
            self.over.add(name)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Answered on disk, or dropped at any time."""
        if not self.held:
            return
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.calls.forget(name)
        del self.held[name]
        self.over.discard(name)

    @invariant()
    def within_bounds(self) -> None:
        assert len(self.calls) == len(self.held) <= BOUND
        assert self.calls.under_way == len(self.under_way) <= AT_ONCE
        hosts = [host_of(call.row.url) for call in self.under_way.values()]
        assert all(hosts.count(host) <= AT_ONCE_A_HOST for host in hosts)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_what_is_over_leaves_no_places_behind() -> None:
    calls = Calls()
    for n in range(20_000):
        calls.add(request(f"r{n}", created_at=0, give_up_at=10**9))
        calls.forget(f"r{n}")
    assert len(calls._ends) + len(calls._due) < 2_100 and not calls._hosts


def test_a_host_that_is_down_holds_up_nobody_else() -> None:
    calls = Calls()
    for n in range(5_000):
        calls.add(request(f"dead{n}", url="http://dead.test/"))
    assert all(calls.add(request(f"live{n}", url="http://live.test/")) for n in range(500))
    taken = [calls.take(9) for _ in range(30)]
    assert {call.row.url for call in taken if call} == {"http://dead.test/", "http://live.test/"}
    assert not calls.hungry, "there is room in all, and none for the host of which rows were left"
