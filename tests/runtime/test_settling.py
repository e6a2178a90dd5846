"""Unknown messages: what comes back settles them, or somebody does; nobody is told twice, nothing is mailed twice."""

from typing import Any

import pytest

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.record import LedgerRow, Outcome
from heliograph.ports import MessageRow, Settled
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank, HandMailer
from heliograph.runtime.settling import MAX_TOGETHER
from tests.runtime.harness import HOUR, T0, call, identify, shop, template

ADDRESS = "ann@example.com"


class Post:
    """A shop whose one message is in the hands of one mailer."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(T0)
        self.crank = Crank(self.store, self.clock, compile_schema=JsonSchema, load_template=lambda _: None)
        self.crank.publish(document or shop())
        self.mailer: HandMailer = self.crank.mailer()
        self.crank.collect([identify(email=ADDRESS), call("Order Completed")])

    @property
    def row(self) -> MessageRow:
        (row,) = self.store.messages()[0]
        return row

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.row.outcomes]

    @property
    def told(self) -> list[str]:
        """What its person heard became of it, oldest first."""
        facts = [fact.data for fact in self.store.journal("u:ann") if fact.kind == "message_outcome"]
        return [fact["kind"] for fact in reversed(facts)]

    @property
    def offered(self) -> bool:
        """Whether a mailer is offered it now."""
        self.crank.offer()
        offers = [one for one in self.mailer.heard if isinstance(one, mailwire.Offer)]
        self.mailer.heard.clear()
        return bool(offers)

    def ask(self) -> bool:
        """Whether it passes its commit point."""
        name = self.row.message_id
        self.crank.dispatcher.hear(self.mailer, mailwire.AskCommit(self.mailer.epoch, [name]))
        (verdicts,) = [one for one in self.mailer.heard if isinstance(one, mailwire.Verdicts)]
        self.mailer.heard.clear()
        return verdicts.go == [name]

    def report(self, kind: str) -> None:
        done = mailwire.Done(self.row.message_id, kind, kind, self.clock.now())
        self.crank.dispatcher.hear(self.mailer, mailwire.Report(self.mailer.epoch, [done]))

    def lose(self, at: int = 0) -> None:
        """It is sent, and nobody knows whether it arrived."""
        assert self.offered and self.ask()
        self.clock.advance(1000)
        self.report("unknown")
        assert self.row.status == "unknown"
        self.clock.advance(at)

    def hear(self, kind: str, *, machine: bool = False) -> None:
        self.crank.feedback([Outcome(self.row.message_id, kind, self.clock.now(), machine=machine)])

    def settle(self, action: str, reason: str = "looked it up") -> Settled:
        (result,) = self.crank.settle_unknown([self.row.message_id], action, reason)
        return result


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    [
        ("delivered", "delivered", ["sent", "delivered"]),
        ("opened", "sent", ["sent", "opened"]),
        ("clicked", "sent", ["sent", "clicked"]),
        ("complained", "sent", ["sent", "complained"]),
        ("bounced", "bounced", ["bounced"]),
    ],
)
def test_what_comes_back_settles_it(post: Post, kind: str, status: str, told: list[str]) -> None:
    post.lose()
    post.hear(kind)
    assert (post.row.status, post.told) == (status, ["unknown", *told])
    assert post.row.sent_at == (0 if kind == "bounced" else T0), "sent when it was, not when that was known"
    before = post.row
    post.hear("delivered" if kind == "delivered" else kind if kind == "bounced" else "complained")
    assert post.row.status == before.status


def test_a_machine_proves_nothing(post: Post) -> None:
    post.lose()
    post.hear("opened", machine=True)
    assert post.row.status == "unknown"


def test_release(post: Post) -> None:
    """The relay's log says that it took the message."""
    post.lose()
    name = post.row.message_id
    assert post.settle("sent") == Settled(name, "released", "crank: looked it up")
    row = post.row
    assert (row.status, row.sent_at, row.reason) == ("sent", T0, "crank: looked it up")
    assert post.kinds == ["unknown", "released", "sent"] and post.told == ["unknown", "sent"]
    (fact,) = [fact.data for fact in post.store.journal("u:ann") if fact.kind == "message_settled"]
    assert (fact["action"], fact["reason"], fact["message_id"]) == ("sent", "crank: looked it up", name)
    assert post.settle("sent").result == "already"
    assert post.settle("resend") == Settled(name, "not_unknown", "it is sent")
    assert post.row == row and not post.offered


def test_resend(post: Post) -> None:
    """Under the same id, as another attempt, through the commit point again."""
    post.lose()
    assert post.settle("resend").result == "resent"
    assert (post.row.status, post.row.attempt) == ("queued", 1)
    assert post.settle("resend").result == "already", "asked twice, sent once"
    assert post.offered and post.ask()
    post.report("sent")
    assert post.row.status == "sent" and post.kinds == ["unknown", "resent", "sent"]
    assert post.told == ["unknown", "sent"] and not post.offered


def test_a_second_loss_can_be_settled_again(post: Post) -> None:
    post.lose()
    post.settle("resend")
    post.lose()
    assert post.settle("resend").result == "resent"
    assert post.kinds == ["unknown", "resent", "unknown", "resent"]


def test_what_is_on_its_way_is_not_settled(post: Post) -> None:
    assert post.offered and post.ask()
    before = post.row
    for action in ("sent", "resend", "drop"):
        assert post.settle(action) == Settled(before.message_id, "not_unknown", "it is sending")
    assert post.row == before


def test_drop(post: Post) -> None:
    """It stays what it is, settled; what comes back later is still believed."""
    post.lose()
    assert post.settle("drop").result == "dropped"
    assert post.row.status == "unknown" and post.settle("drop").result == "already"
    post.hear("opened")
    assert post.row.status == "sent"


@pytest.mark.parametrize("kind", ["opened", "delivered", "bounced"])
def test_evidence_about_the_first_copy_stops_the_second(post: Post, kind: str) -> None:
    post.lose()
    post.settle("resend")
    post.hear(kind)
    assert post.row.status in ("sent", "delivered", "bounced") and not post.offered


def test_evidence_stops_a_copy_that_a_mailer_has_in_its_hands(post: Post) -> None:
    post.lose()
    post.settle("resend")
    assert post.offered
    post.hear("opened")
    assert not post.ask()


def test_what_was_put_off_but_arrived_is_not_tried_again_and_its_run_goes_on(post: Post) -> None:
    """A receiver that answered 451 and delivered all the same."""
    assert post.offered and post.ask()
    post.report("retry")
    assert post.row.status == "queued"
    post.hear("opened")
    assert post.row.status == "sent" and post.told == ["sent", "opened"]
    post.clock.advance(HOUR)
    assert not post.offered


def test_feedback_about_what_never_left_moves_nothing(post: Post) -> None:
    post.hear("bounced")
    assert post.row.status == "queued" and post.offered


@pytest.mark.parametrize("kind", ["retry", "unknown"])
def test_evidence_that_comes_before_the_report_counts(post: Post, kind: str) -> None:
    assert post.offered and post.ask()
    post.hear("clicked")
    assert post.row.status == "sending"
    post.report(kind)
    assert post.row.status == "sent"


def test_what_must_not_go_is_not_sent_again() -> None:
    document = shop()
    document["templates"]["confirmation"] = template("confirmation", **{"class": "transactional"}, freshness_ms=HOUR)
    post = Post(document)
    post.lose(at=2 * HOUR)
    result = post.settle("resend")
    assert result.result == "refused" and "stale" in result.reason
    assert post.row.status == "unknown"
    assert post.settle("sent").result == "released", "to say that it was sent is never too late"


def test_a_stopped_address_is_not_written_to_again(post: Post) -> None:
    post.lose()
    post.crank.change_ledger([LedgerRow(ADDRESS, "!manual", False, post.clock.now())])
    assert post.settle("resend") == Settled(post.row.message_id, "refused", "suppressed: manual")


def test_nobody_is_woken_in_quiet_hours() -> None:
    document = shop()
    document["policies"]["quiet_hours"] = {"from": "20:00", "to": "08:00", "timezone": "project"}
    document["templates"]["confirmation"] = template("confirmation")
    post = Post(document)
    post.lose(at=6 * HOUR)  # past nine in the evening
    assert "quiet hours" in post.settle("resend").reason
    post.clock.advance(12 * HOUR)
    assert post.settle("resend").result == "resent"
    assert T0 + 28 * HOUR < post.row.not_after < T0 + 30 * HOUR, "the next evening"


def test_held_mail_waits_also_when_it_is_sent_again(post: Post) -> None:
    post.lose()
    post.crank.hold("confirmation")
    assert post.settle("resend").result == "resent" and not post.offered
    post.crank.lift("confirmation")
    assert post.offered and post.ask()


def test_one_result_for_each_id(post: Post) -> None:
    post.lose()
    name = post.row.message_id
    results = post.crank.settle_unknown([name, "nobody", name], "sent", "x")
    assert [one.result for one in results] == ["released", "not_found", "already"]


@pytest.mark.parametrize(
    ("ids", "action", "reason", "wrong"),
    [
        (["a"], "forget", "x", "one of sent, resend, drop"),
        (["a"], "sent", " ", "a reason is needed"),
        (["a"] * (MAX_TOGETHER + 1), "sent", "x", "at most 1,000"),
    ],
)
def test_what_nobody_should_ask(post: Post, ids: list[str], action: str, reason: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        post.crank.settle_unknown(ids, action, reason)
