"""What a store of many processes promises (``heliograph.ports.SharedStore``): the twin in memory and PostgreSQL."""

import random
import threading
import time
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from heliograph.events.ids import bucket
from heliograph.events.record import LedgerRow, MergeInto, Record
from heliograph.ports import (
    Claim,
    Commit,
    Fence,
    Fenced,
    MessageRow,
    PlanRow,
    Relayed,
    SharedStore,
    StoreStale,
)
from heliograph.ports.stream import EFFECTS, RECORDS
from tests.contracts.conftest import Shared
from tests.contracts.samples import arrival, fact, ledger, message, messages, suppression, wake
from tests.seeds import seeds

LONG_MS = 600_000


class TestTheLogIsElsewhere:
    def test_records_bring_history_and_nothing_else(self, shared: Shared) -> None:
        store = shared.store
        for positions in ((5, 6), (1, 2)):
            events = [(at, arrival("u:1", f"e{at}", at, received_at=100 + at)) for at in positions]
            store.commit(Commit(log=[*events, (9, wake("u:1", 300))]))
        assert store.log() == []
        assert [event.event_id for event in store.history("u:1")] == ["e1", "e2", "e5", "e6"]
        assert store.last_received_at() == 300

    def test_of_two_events_in_one_place_the_first_stays(self, shared: Shared) -> None:
        shared.store.commit(Commit(log=[(1, arrival("u:1", "e", 1, n=1)), (2, arrival("u:1", "e", 1, n=2))]))
        shared.store.commit(Commit(log=[(3, arrival("u:1", "e", 1, n=3))]))
        assert [event.properties for event in shared.store.history("u:1")] == [{"n": 1}]

    def test_positions_are_never_those_of_another_process_nor_of_an_earlier_life(self, shared: Shared) -> None:
        first, second = shared.store, shared.beside()
        begun = first.last_position()
        first.commit(Commit(log=[(begun + 7, wake("u:1", 1))]))
        assert first.last_position() == begun + 7
        assert second.last_position() - begun >= 1 << 32
        assert shared.beside().last_position() > second.last_position()
        assert second.last_received_at() == 1

    def test_history_goes_with_age_by_both_its_instants(self, shared: Shared) -> None:
        log = [(1, arrival("u:1", "old", 1, received_at=10)), (2, arrival("u:1", "imported", 1, received_at=500))]
        shared.store.commit(Commit(log=[*log, (3, arrival("u:1", "new", 400))]))
        assert shared.store.expire(log_before=0, history_before=100, dead_letters_before=0) == 1
        assert [event.event_id for event in shared.store.history("u:1")] == ["imported", "new"]

    def test_an_event_is_known_by_its_key_and_by_who_merged_it(self, shared: Shared) -> None:
        store = shared.store
        store.commit(Commit(log=[(1, arrival("a:1", "e1", 1)), (2, arrival("u:2", "e2", 1))]))
        assert store.has_event("a:1", "e1") and not store.has_event("u:1", "e1")
        merge = [
            (3, Record("u:1", "m1", 2, 1, MergeInto("a:1", b""))),
            (4, Record("u:9", "m2", 2, 1, MergeInto("u:1", b""))),
        ]
        store.commit(Commit(log=merge))
        assert store.has_event("u:1", "e1") and store.has_event("u:9", "e1")
        assert not store.has_event("u:9", "e2") and not store.has_event("a:1", "e2")
        store.commit(Commit(log=[(5, Record("a:1", "m3", 2, 1, MergeInto("u:9", b"")))]))  # a circle ends
        assert store.has_event("a:1", "e1") and not store.has_event("a:1", "e2")

    def test_unfinished_messages_of_some_buckets(self, shared: Shared) -> None:
        rows = [message(f"m{n}", n, f"u:{n}", ("queued", "sent", "sending")[n % 3]) for n in range(60)]
        shared.store.commit(messages(*rows))
        wanted = {bucket(f"u:{n}") for n in range(0, 60, 2)}
        found = {row.message_id for row in shared.store.unfinished_in(sorted(wanted))}
        assert found == {row.message_id for row in rows if row.status != "sent" and bucket(row.key) in wanted}
        assert list(shared.store.unfinished_in([])) == []


class TestBases:
    def test_a_row_that_was_changed_meanwhile_is_not_written_over(self, shared: Shared) -> None:
        mine, other = shared.store, shared.beside()
        mine.commit(_written(message("m", 1), -1))
        other.commit(_written(message("m", 1, status="sent", rev=1), 0))
        with pytest.raises(StoreStale):
            mine.commit(_with_state(_written(message("m", 1, status="cancelled", rev=1), 0)))
        found = mine.message("m")
        assert found is not None and (found.status, mine.states(["u:1"])) == ("sent", [None])

    @pytest.mark.parametrize("base", [-1, 0, 3])
    def test_one_that_is_not_as_it_was_read_is_stale_also_where_it_is_not_written(
        self, shared: Shared, base: int
    ) -> None:
        if base == -1:
            shared.store.commit(messages(message("m", 1)))
        for commit in (Commit(states={"u:1": b"x"}, bases={"m": base}), Commit(bases={"m": base})):
            with pytest.raises(StoreStale):
                shared.store.commit(commit)
        assert shared.store.states(["u:1"]) == [None]

    def test_a_row_whose_rev_did_not_grow_is_a_mistake(self, shared: Shared) -> None:
        with pytest.raises(ValueError, match="rev"):
            shared.store.commit(_written(message("m", 1, rev=4), 4))

    def test_of_two_writers_that_race_one_is_stale_every_time(self, shared: Shared) -> None:
        stores = [shared.store, shared.beside()]
        for rev in range(40):
            heard = _at_once(
                lambda store, rev=rev: store.commit(
                    _written(message("m", 1, unwanted=str(id(store)), rev=rev), rev - 1)
                ),
                stores,
            )
            assert sorted(map(type, heard), key=str) == sorted([type(None), StoreStale], key=str)
            won = stores[heard.index(None)]
            found = won.message("m")
            assert found is not None and (found.rev, found.unwanted) == (rev, str(id(won)))

    def test_crossed_rows_never_block_each_other_for_good(self, shared: Shared) -> None:
        """Each writes the same rows in another order; whoever is told to, reads again."""
        stores, people = [shared.store, shared.beside()], [f"u:{n}" for n in range(50)]

        def write(store: SharedStore, turn: int) -> None:
            order = people if store is stores[0] else people[::-1]
            store.commit(
                Commit(states=dict.fromkeys(order, b"%d" % turn), members={("all", key): turn for key in order})
            )

        for turn in range(15):
            assert _at_once(lambda store, turn=turn: write(store, turn), stores) == [None, None]
        assert shared.store.member_count("all") == len(people)


def _written(row: MessageRow, base: int) -> Commit:
    return Commit(messages={row.message_id: row}, bases={row.message_id: base})


def _with_state(commit: Commit) -> Commit:
    commit.states = {"u:1": b"x"}
    return commit


def _at_once(work: Callable[[SharedStore], None], stores: list[SharedStore]) -> list[Exception | None]:
    """What each heard."""
    heard: list[Exception | None] = [None] * len(stores)
    ready = threading.Barrier(len(stores))

    def run(at: int) -> None:
        ready.wait()
        try:
            work(stores[at])
        except StoreStale as error:
            heard[at] = error

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return heard


class TestGuards:
    def test_words_as_they_were_read_let_the_commit_through(self, shared: Shared) -> None:
        said = suppression("a@x", "offers", True)
        shared.store.commit(ledger(said))
        shared.store.commit(Commit(states={"u:1": b"x"}, guards={"a@x": {"offers": said}, "b@x": {}}))
        assert shared.store.states(["u:1"]) == [b"x"]

    @pytest.mark.parametrize(
        "read",
        [
            {},
            {"offers": suppression("a@x", "offers", True, 2)},
            {"offers": suppression("a@x", "offers", False, 1)},
            {"offers": suppression("a@x", "offers", True), "news": suppression("a@x", "news")},
            {"news": suppression("a@x", "news", True)},
        ],
        ids=["not there", "later", "otherwise", "one is gone", "another"],
    )
    def test_any_other_word_is_stale(self, shared: Shared, read: dict[str, LedgerRow]) -> None:
        shared.store.commit(ledger(suppression("a@x", "offers", True)))
        for commit in (Commit(states={"u:1": b"x"}, guards={"a@x": read}), Commit(guards={"b@x": {}, "a@x": read})):
            with pytest.raises(StoreStale):
                shared.store.commit(commit)
        assert shared.store.states(["u:1"]) == [None]

    def test_a_commit_may_write_the_words_that_it_guards(self, shared: Shared) -> None:
        before = suppression("a@x", "offers", True)
        shared.store.commit(ledger(before))
        after = replace(before, given=False, at=9)
        shared.store.commit(Commit(ledger={("a@x", "offers"): after}, guards={"a@x": {"offers": before}}))
        assert shared.store.ledger("a@x") == [after]
        with pytest.raises(StoreStale):
            shared.store.commit(Commit(ledger={("a@x", "offers"): before}, guards={"a@x": {"offers": before}}))
        assert shared.store.ledger("a@x") == [after]

    @pytest.mark.parametrize("seed", seeds(3))
    def test_nothing_is_sent_behind_an_unsubscribe_that_was_committed_first(self, shared: Shared, seed: int) -> None:
        """Whoever passes the commit point has read the address's words, and they hold until ``sending`` is there: after
        an unsubscribe that came back, no message of that address becomes ``sending`` any more."""
        chance = random.Random(seed)
        for turn in range(40):
            _race_of_an_unsubscribe(shared, f"{seed}-{turn}@x", chance)


def _race_of_an_unsubscribe(shared: Shared, address: str, chance: random.Random) -> None:
    sender, door = shared.store, _second(shared)
    rows = [_addressed(address, n) for n in range(4)]
    sender.commit(messages(*rows))
    told, sent_at, pauses = [], {}, [chance.random() * 0.003 for _ in range(5)]
    ready = threading.Barrier(2)

    def send() -> None:
        ready.wait()
        for row, pause in zip(rows, pauses, strict=False):
            time.sleep(pause)
            words = {word.topic: word for word in sender.ledger(address)}
            if any(not word.given for word in words.values()):
                return
            sending = replace(row, status="sending", rev=row.rev + 1)
            try:
                sender.commit(
                    Commit(messages={row.message_id: sending}, bases={row.message_id: row.rev}, guards={address: words})
                )
            except StoreStale:
                assert door.ledger(address), "stale without any reason"
                return
            sent_at[row.message_id] = time.monotonic()

    def unsubscribe() -> None:
        ready.wait()
        time.sleep(pauses[4] * 2)
        door.commit(ledger(suppression(address, "offers", False, 5)))
        told.append({row.message_id for row in door.messages(key=f"u:{address}", status="sending")[0]})

    threads = [threading.Thread(target=send), threading.Thread(target=unsubscribe)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sending = {row.message_id for row in sender.messages(key=f"u:{address}", status="sending")[0]}
    assert sending == told[0], "sent behind an unsubscribe that was there first"
    assert sending == set(sent_at)


def _addressed(address: str, n: int) -> MessageRow:
    return replace(message(f"{address}-{n}", n, f"u:{address}"), address=address)


def _second(shared: Shared) -> SharedStore:
    if not hasattr(shared, "second"):
        shared.second = shared.beside()  # type: ignore[attr-defined]
    second: SharedStore = shared.second  # type: ignore[attr-defined]
    return second


class TestClaims:
    def test_each_claim_is_a_new_epoch_whoever_had_it(self, shared: Shared) -> None:
        store, other = shared.store, shared.beside()
        assert store.claims() == []
        first = store.claim("w1", [2, 0], LONG_MS)
        assert [(c.partition, c.owner, c.epoch, c.offset) for c in first] == [(0, "w1", 1, -1), (2, "w1", 1, -1)]
        (taken,) = other.claim("w2", [2], LONG_MS)
        assert (taken.owner, taken.epoch) == ("w2", 2)
        assert [(c.partition, c.owner, c.epoch) for c in store.claims()] == [(0, "w1", 1), (2, "w2", 2)]
        assert store.claim("w1", [], LONG_MS) == []

    def test_a_claim_says_from_which_offset_to_go_on(self, shared: Shared) -> None:
        shared.store.commit(Commit(offsets={(EFFECTS, 0): 7, (EFFECTS, 1): 3, (RECORDS, 0): 99}))
        shared.store.commit(Commit(offsets={(EFFECTS, 0): 8}))
        assert [claim.offset for claim in shared.beside().claim("w", [0, 1, 2], LONG_MS)] == [8, 3, -1]

    def test_a_claim_says_how_long_the_lease_that_it_ended_would_have_run_on(self, shared: Shared) -> None:
        """As it was when it ended: a renewal just before counts."""
        store, other = shared.store, shared.beside()
        first = _epochs(store.claim("w1", [0, 1, 2], 1))
        assert store.renew("w1", {0: first[0], 2: first[2]}, LONG_MS)
        store.release("w1", {2: first[2]})
        time.sleep(0.01)
        ran_on, over, released, new = [one.former_ms for one in other.claim("w2", [0, 1, 2, 3], 5)]
        assert LONG_MS / 2 < ran_on <= LONG_MS
        assert over == released == new == 0
        assert [one.former_ms for one in store.claims()] == [0] * 4

    def test_all_are_renewed_or_none(self, shared: Shared) -> None:
        store = shared.store
        epochs = _epochs(store.claim("w1", [0, 1], 1))
        before = {claim.partition: claim.lease_until for claim in store.claims()}
        assert store.renew("w1", epochs, LONG_MS)
        assert all(claim.lease_until > before[claim.partition] + 1000 for claim in store.claims())
        shared.beside().claim("w2", [1], 1)
        kept = store.claims()
        assert not store.renew("w1", epochs, 2 * LONG_MS)
        assert not store.renew("w2", {0: 1}, 2 * LONG_MS)
        assert not store.renew("w2", {5: 1}, 2 * LONG_MS)
        assert store.claims() == kept

    def test_what_is_released_is_nobodys_and_its_epochs_go_on(self, shared: Shared) -> None:
        store = shared.store
        epochs = _epochs(store.claim("w1", [0, 1], LONG_MS))
        store.claim("w2", [1], LONG_MS)
        store.release("w1", epochs)
        assert [(c.owner, c.epoch, c.lease_until > 0) for c in store.claims()] == [("", 1, False), ("w2", 2, True)]
        with pytest.raises(Fenced):
            store.commit(Commit(fence=Fence("w1", {0: 1})))
        assert store.claim("w1", [0], LONG_MS)[0].epoch == 2

    def test_only_who_holds_all_of_its_claims_commits(self, shared: Shared) -> None:
        store, other = shared.store, shared.beside()
        fence = Fence("w1", _epochs(store.claim("w1", [0, 1], LONG_MS)))
        store.commit(Commit(states={"u:1": b"mine"}, fence=fence))
        other.claim("w2", [1], LONG_MS)
        for late in (Commit(states={"u:1": b"late"}, fence=fence), Commit(fence=fence)):
            with pytest.raises(Fenced):
                store.commit(late)
        for strange in (Fence("w2", {1: 1}), Fence("w2", {7: 1}), Fence("", {0: 1})):
            with pytest.raises(Fenced):
                other.commit(Commit(states={"u:1": b"late"}, fence=strange))
        assert store.states(["u:1"]) == [b"mine"]

    def test_behind_a_claim_nothing_of_the_former_owner_is_committed(self, shared: Shared) -> None:
        """What the new owner reads after its claim never changes under it: offsets least of all."""
        store, other = shared.store, shared.beside()
        for turn in range(15):
            fence = Fence("w1", _epochs(store.claim("w1", [0], LONG_MS)))
            ended = threading.Event()

            def work(fence: Fence = fence, ended: threading.Event = ended) -> None:
                offset = 0
                try:
                    while True:
                        offset += 1
                        store.commit(
                            Commit(offsets={(EFFECTS, 0): offset}, states={"u:1": b"%d" % offset}, fence=fence)
                        )
                except Fenced:
                    ended.set()

            worker = threading.Thread(target=work)
            worker.start()
            time.sleep(0.001 * (turn % 7))
            (claim,) = other.claim("w2", [0], LONG_MS)
            seen = other.states(["u:1"])
            worker.join()
            assert ended.is_set()
            assert seen == other.states(["u:1"]) == [None if claim.offset < 0 else b"%d" % claim.offset]
            other.commit(Commit(offsets={(EFFECTS, 0): -1}, states={"u:1": None}))

    def test_a_version_of_the_plan_is_published_once(self, shared: Shared) -> None:
        store, other = shared.store, shared.beside()
        store.commit(Commit(plan=PlanRow(1, b"{}", 5)))
        with pytest.raises(StoreStale):
            other.commit(Commit(plan=PlanRow(1, b"[]", 6), meta={"a": b"b"}))
        assert other.plan() == PlanRow(1, b"{}", 5) and other.meta("a") is None
        store.commit(Commit(plan=PlanRow(1, b"{}", 7)))  # nobody had heard what became of it
        other.commit(Commit(plan=PlanRow(2, b"[]", 8), meta={"a": b"b"}))
        assert [version for version, _ in store.plans()] == [1, 2]

    def test_a_lead_is_one_owners_until_its_lease_ends(self, shared: Shared) -> None:
        store, other = shared.store, shared.beside()
        assert store.lead("w1", "sweep", LONG_MS) and store.lead("w1", "sweep", LONG_MS)
        assert not other.lead("w2", "sweep", LONG_MS)
        assert other.lead("w2", "retention", 1)
        time.sleep(0.02)
        assert store.lead("w1", "retention", LONG_MS)
        assert not other.lead("w2", "retention", LONG_MS)

    def test_of_many_that_want_to_lead_one_does(self, shared: Shared) -> None:
        stores = [shared.store, *(shared.beside() for _ in range(3))]
        for turn in range(10):
            leads: list[int] = []
            _at_once(
                lambda store, turn=turn, leads=leads: leads.append(store.lead(str(id(store)), str(turn), LONG_MS)),
                stores,
            )
            assert sum(leads) == 1


def _epochs(claims: list[Claim]) -> dict[int, int]:
    return {claim.partition: claim.epoch for claim in claims}


def _entry(n: int) -> Relayed:
    return Relayed(f"r{n}", RECORDS, b"\x00\x07", b"\xff%d" % n)


class TestRelay:
    def test_entries_wait_in_order_until_they_are_forgotten(self, shared: Shared) -> None:
        store = shared.store
        assert store.relayed(10) == []
        store.commit(Commit(relay=[_entry(1), _entry(2)], states={"u:1": b"x"}))
        store.commit(Commit(relay=[_entry(3)]))
        found = store.relayed(10)
        assert [one for _, one in found] == [_entry(1), _entry(2), _entry(3)]
        assert store.relayed(2) == found[:2]
        store.forget_relayed([found[1][0], found[0][0]])
        store.forget_relayed([])
        assert store.relayed(10) == found[2:]

    def test_what_one_publishes_no_other_is_given_until_it_ends(self, shared: Shared) -> None:
        mine, other = shared.store, shared.beside()
        mine.relayed(10)
        mine.commit(Commit(relay=[_entry(1), _entry(2)]))
        assert other.relayed(10) == []
        other.commit(Commit(relay=[_entry(3)]))
        assert [one.id for _, one in other.relayed(10)] == ["r3"]
        assert [one.id for _, one in mine.relayed(10)] == ["r1", "r2"]
        mine.close()
        assert [one.id for _, one in other.relayed(2)] == ["r1", "r2"]
        assert [one.id for _, one in other.relayed(10)] == ["r1", "r2", "r3"]

    def test_entries_of_one_who_never_publishes_are_taken_by_who_does(self, shared: Shared) -> None:
        shared.beside().commit(Commit(relay=[_entry(n) for n in range(5)]))
        found = shared.store.relayed(3)
        assert [one.id for _, one in found] == ["r0", "r1", "r2"]
        shared.store.forget_relayed([number for number, _ in found])
        assert [one.id for _, one in shared.store.relayed(3)] == ["r3", "r4"]

    def test_many_publishers_give_out_every_entry_once(self, shared: Shared) -> None:
        stores = [shared.beside() for _ in range(3)]
        shared.store.commit(Commit(relay=[_entry(n) for n in range(200)]))
        found: list[str] = []

        def publish(store: SharedStore) -> None:
            while rows := store.relayed(7):
                store.forget_relayed([number for number, _ in rows])
                found.extend(one.id for _, one in rows)

        _at_once(publish, stores)
        assert sorted(found) == sorted(f"r{n}" for n in range(200))

    def test_nothing_of_a_refused_commit_leaves(self, shared: Shared) -> None:
        late = Commit(relay=[_entry(1)], offsets={(EFFECTS, 0): 5}, journal=[("u:1", fact(1))], bases={"m": 3})
        with pytest.raises(StoreStale):
            shared.store.commit(late)
        with pytest.raises(Fenced):
            shared.store.commit(replace(late, bases={}, fence=Fence("w", {0: 1})))
        assert (shared.store.relayed(10), shared.store.journal("u:1")) == ([], [])
        assert shared.store.claim("w", [0], 1)[0].offset == -1


def test_a_text_that_no_database_can_keep_is_refused_whole(shared: Shared) -> None:
    for commit in (
        Commit(states={"u:1": b"x"}, messages={"m": message("m", 1, unwanted="\ud800")}),
        Commit(states={"u:1": b"x"}, journal=[("u:1", fact(1, text="\udfff"))]),
    ):
        with pytest.raises(ValueError, match="surrogates"):
            shared.store.commit(commit)
    assert shared.store.states(["u:1"]) == [None]


def test_long_texts_that_begin_alike_are_told_apart(shared: Shared) -> None:
    chance = random.Random(7)
    noise = "".join(chr(chance.randrange(0x20, 0x2FFF)) for _ in range(9_000))
    keys = ["u:" + noise + end for end in ("", "a", "\x00")]
    store = shared.store
    store.commit(
        Commit(
            states={key: key[-3:].encode() for key in keys},
            wakeups=dict.fromkeys(keys, (None, 5)),
            members={(noise, key): 1 for key in keys},
            emails={(noise + "@x", key): True for key in keys},
            meta={noise: b"meta"},
            log=[(1, arrival(keys[0], "e", 1)), (2, arrival(keys[1], "e", 1))],
        )
    )
    assert store.states(keys) == [key[-3:].encode() for key in keys]
    assert sorted(store.keys()) == sorted(key for _, key in store.due(9)) == sorted(keys)
    assert (
        sorted(key for key, _ in store.members(noise)[0]) == sorted(store.keys_of_email(noise + "@x")) == sorted(keys)
    )
    assert (store.emails(noise[:50]), store.meta(noise), store.metas()) == ([noise + "@x"], b"meta", [noise])
    assert (len(list(store.history(keys[0]))), len(list(store.history(keys[2])))) == (1, 0)
    seen, after = [], None
    while page := store.keys(after, limit=1):
        seen += page
        after = page[-1]
    assert seen == store.keys()
