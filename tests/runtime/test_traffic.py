"""Who goes when, and which way: limits of receivers, senders and relays over random traffic and replies."""

import random
from collections import Counter, defaultdict
from typing import Any

import pytest
from msgspec.structs import replace

from heliograph.adapters.memory import MemoryShare, MemoryStore
from heliograph.deliver.limits import Receiver, RelayLimits, Rule, SenderLimits, Shaping
from heliograph.deliver.rates import DAY
from heliograph.ports import Claim, Commit, MxAnswer
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.dispatcher import rank_of
from heliograph.runtime.mailwire import Done
from heliograph.runtime.outbox import Entry, Outbox
from heliograph.runtime.rollup import Rollup
from heliograph.runtime.sharing import Sharing
from heliograph.runtime.traffic import Traffic
from heliograph.runtime.traffic_kept import GRACE_MS, RECEIVERS, dump_claims, kept_in, of_the_dead, of_the_past
from heliograph.runtime.traffic_view import view
from tests.runtime.test_outbox import row

T0 = 20_000 * DAY + 5000


class Mail:
    """An outbox with traffic, and receivers that answer what a test says."""

    def __init__(self, shaping: Shaping | None = None, kept: dict[str, bytes] | None = None) -> None:
        self.store = MemoryStore()
        sender = lambda row: row.template  # noqa: E731  a test's template is named like its sender
        read = lambda name: [*filter(None, [(kept or {}).get(name)])]  # noqa: E731
        self.traffic = Traffic(shaping, rank=rank_of, sender=sender, kept=read)
        self.outbox = Outbox(self.store, self.traffic)
        self.now = T0
        self.number = 0
        self.sent: list[tuple[int, Entry]] = []

    def queue(self, count: int, domain: str = "a.example", sender: str = "default", **fields: Any) -> None:
        for _ in range(count):
            self.number += 1
            one = replace(row(self.number, address=f"x@{domain}", **fields), template=sender)
            self.store.commit(Commit(messages={one.message_id: one}))
            self.outbox.add(one)

    def claims(self, most: int = 10_000) -> list[Entry]:
        found = list[Entry]()
        if self.outbox.behind(self.now):
            self.outbox.fetch(self.now)
        while len(found) < most and (claim := self.outbox.claim(self.now)) is not None:
            found.append(claim)
        return found

    def answer(self, claim: Entry, done: Done, took: int = 5) -> bool:
        """True when it may go another way at once."""
        self.outbox.done(claim.row.message_id)
        claim.asked_at = self.now - took
        elsewhere = done.kind != "sent" and self.traffic.heard(claim.lane, claim.route, done, self.now)
        self.traffic.ended(claim.lane, claim.route, claim.days, done, claim.asked_at, self.now)
        self.store.commit(Commit(messages={claim.row.message_id: replace(claim.row, status=done.kind)}))
        return elsewhere

    def go(self, ms: int, step: int = 10) -> list[Entry]:
        """Everything that goes meanwhile, each taken at once."""
        found = list[Entry]()
        for now in range(self.now, self.now + ms, step):
            self.now = now
            while claims := self.claims(20):
                for claim in claims:
                    self.answer(claim, SENT)
                    found.append(claim)
                    self.sent.append((self.now, claim))
        self.now += step
        return found


SENT = Done("", "sent", "250 Ok", 0, code=250, stage="dot")
BUSY = Done("", "retry", "451 4.3.0 Busy", 0, code=451, stage="rcpt")
FULL = Done("", "retry", "452 4.2.2 Mailbox full", 0, code=452, stage="rcpt")
REFUSED = Done("", "retry", "connection refused", 0, stage="connect")
LOGIN = Done("", "retry", "535 5.7.8 Bad credentials", 0, code=535, stage="mail")
SUSPEND = Done("", "retry", "421 4.7.0 [TSS04] Messages temporarily deferred", 0, code=421, stage="mail")


def of_receiver(claims: list[Entry]) -> Counter[str]:
    return Counter(claim.lane.receiver.name for claim in claims)


def test_a_receivers_rate_holds_and_holds_up_nobody_else() -> None:
    mail = Mail(Shaping(receivers={"slow": Receiver(domains=("slow.example",), max_message_rate="20/s")}))
    mail.queue(200, "slow.example")
    mail.queue(500, "b.example")
    assert of_receiver(mail.go(1000)) == {"slow": 20, "b.example": 500}
    assert 18 <= len(mail.go(1000)) <= 20
    assert mail.outbox.waiting_for("m00150") == "receiver slow: its message rate"


def test_a_reply_suspends_its_receiver_alone_and_triggered_mail_goes_first_when_it_ends() -> None:
    mail = Mail()
    mail.queue(50, "yahoo.com", journey="broadcast:b")
    mail.queue(3, "b.example")
    first = mail.claims(5)
    mail.answer(next(claim for claim in first if claim.lane.receiver.name == "yahoo"), SUSPEND)
    for claim in first:
        if claim.row.message_id in mail.outbox.claims:
            mail.answer(claim, SENT)
    mail.queue(2, "yahoo.com")
    mail.queue(5, "b.example")
    assert of_receiver(mail.go(60_000, 1000)) == {"b.example": 5}
    assert "TSS04" in mail.outbox.waiting_for("m00050")
    mail.now = T0 + 2 * 3_600_000 + 1000
    assert [claim.lane.rank for claim in mail.claims(4)] == [2, 2, 3, 3]


def test_a_rule_of_the_settings_goes_before_and_slows_to_its_rate() -> None:
    rule = Rule("TSS04", "slow", 60_000, "5/s")
    mail = Mail(Shaping(receivers={"yahoo": Receiver(rules=(rule,))}))
    mail.queue(500, "aol.com")
    mail.answer(mail.claims(1)[0], SUSPEND)
    assert len(mail.go(10_000)) in range(45, 51)
    assert len(mail.go(60_000)) > 400


def test_what_a_mailbox_says_of_itself_slows_nobody() -> None:
    mail = Mail()
    mail.queue(300)
    for _ in range(300):
        mail.answer(mail.claims(1)[0], FULL)
    assert not mail.traffic.receiver("a.example").shaped


def test_a_receiver_that_puts_off_most_of_its_mail_gets_half() -> None:
    mail = Mail()
    mail.queue(4000)
    for second in range(20):
        mail.now = T0 + second * 1000
        for claim in mail.claims(50):
            mail.answer(claim, BUSY if second > 15 else SENT)
    assert view(mail.traffic, mail.now)["receivers"]["a.example"]["backed_off_to"] is not None
    assert 600 <= len(mail.go(30_000)) <= 1100


def test_one_stalled_receiver_changes_nobody_elses_order_and_instants() -> None:
    """The same traffic with and without a receiver that never answers: the others go at the same moments."""

    def run(stalled: bool) -> list[tuple[int, str]]:
        chance, mail, gone = random.Random(7), Mail(), list[tuple[int, str]]()
        mail.traffic.slow.credit = 128
        for _ in range(3000):
            mail.now += chance.randrange(5)
            domain = chance.choice(["a.example", "b.example", "stalled.example", "c.example"])
            if domain != "stalled.example" or stalled:
                mail.queue(1, domain)
            else:
                mail.number += 1
            for claim in mail.claims():
                if claim.lane.receiver.name != "stalled.example":
                    gone.append((mail.now, claim.row.message_id))
                    mail.answer(claim, SENT)
        return gone

    assert run(stalled=True) == run(stalled=False)


def test_slow_receivers_together_hold_a_part_of_the_relays_places() -> None:
    mail = Mail(Shaping(relays={"default": RelayLimits(connections=10)}))
    for _ in range(30):
        mail.queue(1, "fast.example")
        mail.queue(1, "slow.example")
        for claim in mail.claims():
            mail.answer(claim, SENT, took=250 if claim.lane.receiver.name.startswith("slow") else 3)
    mail.queue(100, "slow.example")
    mail.queue(30, "fast.example")
    held = of_receiver(mail.claims())
    assert held == {"slow.example": 5, "fast.example": 30}, "a quarter of twenty places"


def test_a_slow_receiver_that_is_alone_gets_all_places_after_a_while() -> None:
    mail = Mail(Shaping(relays={"default": RelayLimits(connections=10)}))
    mail.queue(20, "fast.example")
    for claim in mail.claims():
        mail.answer(claim, SENT, took=3)
    mail.queue(1000, "slow.example")
    together = list[int]()
    for _ in range(60):
        claims = mail.claims()
        together.append(len(claims))
        for claim in claims:
            mail.answer(claim, SENT, took=250)
    assert together[1] == 5 and max(together) > 20


@pytest.mark.parametrize("fault", [REFUSED, LOGIN])
def test_another_relay_takes_over_at_once(fault: Done) -> None:
    mail = Mail(Shaping(relays={"default": RelayLimits(), "backup": RelayLimits()}))
    mail.queue(40)
    claims = mail.claims(8)
    assert Counter(claim.route for claim in claims) == {"default": 4, "backup": 4}
    assert [mail.answer(claim, fault) for claim in claims if claim.route == "default"] == [True] * 4
    for claim in claims:
        if claim.route == "backup":
            mail.answer(claim, SENT)
    assert {claim.route for claim in mail.go(500)} == {"backup"}
    mail.queue(40)
    mail.now = T0 + 1000
    probing = mail.claims(10)
    assert Counter(claim.route for claim in probing)["default"] == 1, "one message finds out"
    assert mail.traffic.receiver("a.example").until == 0, "that is nobody's fault but the relay's"


def test_the_only_relay_down_counts_as_an_attempt_and_the_rest_waits_for_it() -> None:
    mail = Mail()
    mail.queue(50)
    claims = mail.claims(3)
    assert [mail.answer(claim, REFUSED) for claim in claims] == [False] * 3
    assert mail.claims() == [] and "connection refused" in mail.outbox.waiting_for("m00010")
    assert mail.outbox.next_at() == T0 + 1000
    mail.now += 1000
    (probe,) = mail.claims()
    mail.answer(probe, SENT)
    assert len(mail.claims()) == 11, "the first window, and one more for the reply"


def test_a_sender_keeps_to_its_relays_its_rate_and_its_day() -> None:
    shaping = Shaping(
        relays={"default": RelayLimits(), "backup": RelayLimits()},
        senders={"bulk": SenderLimits(relays=("backup",), max_message_rate="100/m", max_messages_per_day=150)},
    )
    mail = Mail(shaping)
    mail.queue(300, sender="bulk")
    mail.queue(300)
    gone = mail.go(60_000, 50)
    by_sender = Counter(claim.lane.sender.name for claim in gone)
    assert by_sender["bulk"] in (99, 100) and by_sender["default"] == 300
    assert {claim.route for claim in gone if claim.lane.sender.name == "bulk"} == {"backup"}
    assert len(mail.go(600_000, 1000)) == 150 - by_sender["bulk"]
    mail.now = (T0 // DAY + 1) * DAY
    assert len(mail.claims(200)) >= 1, "a new day"


def test_a_restart_resets_no_day_no_warm_up_and_no_suspension() -> None:
    shaping = Shaping(
        relays={"default": RelayLimits(max_messages_per_day=30)},
        senders={"new": SenderLimits(tiers=((5, 10),)), "default": SenderLimits(max_messages_per_day=12)},
    )
    mail = Mail(shaping)
    mail.queue(50, sender="new")
    mail.queue(50, "b.example")
    assert len(mail.go(1000)) == 5 + 12
    mail.queue(1, "yahoo.com", sender="other")
    mail.answer(mail.claims()[0], SUSPEND)
    kept = mail.traffic.meta(mail.now)
    assert mail.traffic.meta(mail.now) == {}, "nothing has changed since"
    again = Mail(shaping, kept)
    again.now = mail.now
    again.queue(50, sender="new")
    again.queue(50, "b.example")
    again.queue(50, "yahoo.com", sender="other")
    assert again.claims() == []
    again.queue(50, "c.example", sender="other")
    assert len(again.go(1000)) == 30 - 17, "what is left of the relay's day"
    assert view(again.traffic, again.now) == view(mail.traffic, mail.now) | {
        "receivers": view(again.traffic, again.now)["receivers"],
        "relays": view(again.traffic, again.now)["relays"],
    }


SHARED = Shaping(senders={"new": SenderLimits(tiers=((0, 10), (0, 20), (0, 40)), max_message_rate="1/d")})


def machine(name: str, store: MemoryStore) -> Traffic:
    sharing = Sharing(MemoryShare(lambda: T0), machine=name)
    kept = kept_in(store, shared=True)
    return Traffic(SHARED, rank=rank_of, sender=lambda _row: "new", kept=kept, sharing=sharing)


def test_machines_write_over_nothing_of_each_other_and_who_starts_knows_what_all_of_them_knew() -> None:
    store = MemoryStore()
    one, two = machine("one", store), machine("two", store)
    for day in range(2):
        for _ in range(30):
            one.elsewhere("new", "sent", 1, T0 + day * DAY)
    one.receiver("big").suspend(T0 + 9 * DAY, "421 go away")
    one.receiver("small").suspend(T0 + DAY, "421 for now")
    two.receiver("small").suspend(T0 + 3 * DAY, "421 for longer")
    store.commit(Commit(meta=dict(one.meta(T0))))
    store.commit(Commit(meta=dict(two.meta(T0))))
    three = machine("three", store)
    warmups = [one.kept_parts()[0]["new"].warmup for one in (one, two, three)]
    assert [warmup.tier for warmup in warmups if warmup] == [1, 0, 1]
    assert three.receiver("big").until == T0 + 9 * DAY and three.receiver("small").until == T0 + 3 * DAY
    assert {"traffic:counters:three", "traffic:receivers:three"} <= three.meta(T0).keys(), "they are its own now"


def test_what_the_dead_wrote_goes_when_it_was_taken_over_and_what_they_had_of_a_day_when_that_is_over() -> None:
    store, now = MemoryStore(), T0 + GRACE_MS
    for name in ("dead", "alive"):
        store.commit(Commit(meta=dict(machine(name, store).meta(T0))))
    store.commit(Commit(meta=dict(machine("starting", store).meta(now))))
    claims = [Claim(0, "alive", 1, now)]
    gone = of_the_dead(store, claims, "me", now)
    assert gone == ["traffic:counters:dead", "traffic:receivers:dead"]
    assert of_the_dead(store, claims, "dead", now) == []
    for day in (7, 8, 9):
        store.commit(Commit(meta=dict(dump_claims(f"m{day}", day, {"sender:new": 5}))))
    early = {f"traffic:claims:{name}" for name in ("alive", "dead", "starting")}
    assert set(of_the_past(store, 9)) == early | {"traffic:claims:m7"}
    assert of_the_past(store, 0) == [], "nobody has said what day it is"


def test_a_restart_does_not_forget_what_of_an_hour_is_gone() -> None:
    shaping = Shaping(receivers={"slow": Receiver(domains=("slow.example",), max_message_rate="2/h")})
    mail = Mail(shaping)
    mail.queue(5, "slow.example")
    assert len(mail.go(1000)) == 1
    again = Mail(shaping, mail.traffic.meta(mail.now))
    again.now = mail.now
    again.queue(5, "slow.example")
    assert again.claims() == [] and again.outbox.next_at() == T0 + 1_800_013 - 25


def test_what_did_not_go_costs_no_place_in_the_day() -> None:
    mail = Mail(Shaping(senders={"default": SenderLimits(max_messages_per_day=10)}))
    mail.queue(40)
    for kind in ("stopped", "skipped", "missed", "retry"):
        for claim in mail.claims():
            mail.answer(claim, Done("", kind, "450 4.2.2 full", 0, code=450, stage="rcpt"))
    mail.queue(40)
    assert len(mail.go(1000)) == 10
    assert view(mail.traffic, mail.now)["senders"]["default"]["sent_today"] == 10


def test_in_warm_up_triggered_mail_takes_the_quota_before_a_broadcast() -> None:
    mail = Mail(Shaping(senders={"new": SenderLimits(tiers=((0, 100), (0, 200)))}))
    mail.queue(300, sender="new", journey="broadcast:b")
    assert len(mail.go(60_000, 1000)) == 90, "a tenth is left to what nobody can plan"
    mail.queue(8, sender="new")
    assert [claim.lane.rank for claim in mail.go(1000)] == [2] * 8
    rest = mail.go(DAY - 70_000, 60_000)
    assert len(rest) == 2 and "warm-up" in mail.outbox.waiting_for("m00299")
    mail.now = (T0 // DAY + 1) * DAY
    assert view(mail.traffic, mail.now)["senders"]["new"]["warmup"]["tier"] == 2


@pytest.mark.parametrize("seed", range(12))
def test_random_limits_traffic_and_clock_steps(seed: int) -> None:
    """Laws: in no second more than a receiver's, a relay's or a sender's rate; nothing to a suspended receiver; a lane
    in its order; nobody starves."""
    chance = random.Random(seed)
    domains = [f"d{n}.example" for n in range(6)]
    rates = {name: chance.randrange(5, 40) for name in domains[:3]}
    relays = {
        "default": RelayLimits(weight=2, max_message_rate="60/s"),
        "r2": RelayLimits(weight=1),
        "r3": RelayLimits(),
    }
    mail = Mail(
        Shaping(
            receivers={name: Receiver(domains=(name,), max_message_rate=f"{n}/s") for name, n in rates.items()},
            relays=relays,
            senders={"s1": SenderLimits(max_message_rate="50/s", relays=("default", "r2"))},
        )
    )
    under_way, gone = list[Entry](), list[tuple[int, Entry]]()
    for _ in range(600):
        mail.now += chance.choice([0, 1, 5, 20, 300])
        if chance.random() < 0.6:
            journey = chance.choice(["j", "broadcast:b"])
            mail.queue(chance.randrange(6), chance.choice(domains), chance.choice(["s1", "s2"]), journey=journey)
        for claim in mail.claims(chance.randrange(1, 60)):
            assert claim.lane.receiver.until <= mail.now
            gone.append((mail.now, claim))
            under_way.append(claim)
        chance.shuffle(under_way)
        for claim in [under_way.pop() for _ in range(min(len(under_way), chance.randrange(30)))]:
            done = chance.choice([SENT] * 30 + [BUSY, FULL, SUSPEND])
            if claim.route == "r3" and chance.random() < 0.02:
                done = REFUSED
            mail.answer(claim, done)
    for claim in under_way:
        mail.answer(claim, SENT)
    for _ in range(4000):
        if not len(mail.outbox):
            break
        mail.now += 500
        for claim in mail.claims():
            gone.append((mail.now, claim))
            mail.answer(claim, SENT)
    assert len(mail.outbox) == 0, "everybody had their turn"
    assert len({claim.row.message_id for _, claim in gone}) == mail.number == len(gone)

    groups: dict[str, list[int]] = defaultdict(list)
    order: dict[int, list[int]] = defaultdict(list)
    for at, claim in gone:
        groups[f"receiver {claim.lane.receiver.name}"].append(at)
        groups[f"sender {claim.lane.sender.name}"].append(at)
        groups[f"route {claim.route}"].append(at)
        order[id(claim.lane)].append(claim.row.created_at)
        assert claim.lane.sender.name == "s2" or claim.route in ("default", "r2")
    limits = {f"receiver {name}": n for name, n in rates.items()} | {"sender s1": 50, "route default": 60}
    for name, most in limits.items():
        for at in groups[name]:
            assert sum(1 for one in groups[name] if at <= one < at + 1000) <= most, name
    assert all(lane == sorted(lane) for lane in order.values())


def test_a_thousand_parked_lanes_cost_a_claim_nothing() -> None:
    """Looks at gates for each message do not grow with the receivers that wait for one sender's rate."""

    def looks(receivers: int) -> float:
        mail = Mail(Shaping(senders={"s": SenderLimits(max_message_rate="100/s")}))
        for n in range(receivers):
            mail.queue(2, f"d{n}.example", "s")
        mail.go(100)
        count, closed = 0, mail.traffic.lanes._closed

        def counting(lane: Any, now: int) -> Any:
            nonlocal count
            count += 1
            return closed(lane, now)

        mail.traffic.lanes._closed = counting
        gone = len(mail.go(500))
        return count / gone

    assert looks(1000) < looks(60) * 1.5 + 1


async def test_a_domain_moves_to_its_receiver_when_its_mx_is_known() -> None:
    class Dns:
        async def mx(self, domain: str) -> MxAnswer:
            return MxAnswer(((10, "aspmx.l.google.com"),) if domain == "shop.example" else ())

    mail = Mail(Shaping(rollup=True))
    rollup = Rollup(Dns(), mail.traffic, ManualClock(T0))
    mail.queue(5, "shop.example")
    mail.queue(5, "gmail.com")
    mail.queue(5, "lonely.example")
    assert set(rollup._pending) == {"shop.example", "lonely.example"}, "what is well known is not asked for"
    assert mail.traffic.queues() == {"shop.example": 5, "gmail": 5, "lonely.example": 5}
    for domain in list(rollup._pending):
        await rollup.find(domain)
    assert mail.traffic.queues() == {"gmail": 10, "lonely.example": 5}
    assert len(mail.claims()) == 15
    mail.queue(1, "shop.example")
    assert mail.traffic.queues() == {"gmail": 1}


def test_the_view_names_what_has_news() -> None:
    mail = Mail()
    mail.queue(1, "yahoo.com")
    mail.answer(mail.claims()[0], SUSPEND)
    mail.queue(3, "yahoo.com")
    seen = view(mail.traffic, mail.now)
    yahoo = seen["receivers"]["yahoo"]
    assert yahoo["queued"] == 3 and yahoo["suspended_until"] == T0 + 2 * 3_600_000 and "TSS04" in yahoo["reason"]
    assert seen["relays"]["default"]["works"] and seen["senders"] == {}
    assert mail.traffic.release("yahoo", mail.now) and len(mail.claims()) == 3
    assert RECEIVERS in mail.traffic.meta(mail.now)
