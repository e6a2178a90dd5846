"""What a store promises (``heliograph.ports.Store``), law by law, on every adapter."""

import threading
from itertools import pairwise

import pytest
from msgspec.structs import replace

from heliograph.decide.broadcasts import journey_of
from heliograph.events.event import Event
from heliograph.events.ids import bucket
from heliograph.events.record import EventBody, LedgerRow, Link, Record
from heliograph.ports import Commit, MessageRow, PlanRow, Store, StoreFull
from tests.contracts.conftest import Opened
from tests.contracts.samples import (
    arrival,
    broadcast,
    broadcasts,
    dead_letter,
    event,
    fact,
    ledger,
    message,
    messages,
    request,
    requests,
    suppression,
    wake,
)

HUGE = "€" * 400_000
ODD = ["", "\x00", "a\x00b", "a", "a\x00", "a\x01", "ä", "日本", "\U0001f600", "￿", "a b/c:d"]


class TestStates:
    def test_what_was_committed_is_read_back_in_the_order_asked(self, store: Store) -> None:
        store.commit(Commit(states={"u:1": b"one", "u:2": b""}))
        assert store.states(["u:2", "u:9", "u:1"]) == [b"", None, b"one"]
        assert store.states([]) == []

    def test_a_later_commit_replaces(self, opened: Opened) -> None:
        opened.store.commit(Commit(states={"u:1": b"one"}))
        opened.store.commit(Commit(states={"u:1": b"two"}))
        assert opened.again().states(["u:1"]) == [b"two"]

    def test_a_forgotten_key_is_as_if_it_had_never_been(self, opened: Opened) -> None:
        opened.store.commit(Commit(states={"a:1": b"one", "a:2": b"two"}))
        opened.store.commit(Commit(states={"a:1": None, "a:never": None}))
        again = opened.again()
        assert again.states(["a:1", "a:2", "a:never"]) == [None, b"two", None]
        assert again.keys() == ["a:2"]

    def test_keys_may_be_any_text_and_blobs_large(self, opened: Opened) -> None:
        blobs = {key: key.encode() * 3 for key in ODD} | {"u:" + "k" * 60_000: bytes(4 << 20)}
        opened.store.commit(Commit(states=blobs))
        again = opened.again()
        assert again.states(list(blobs)) == list(blobs.values())
        assert sorted(again.keys()) == sorted(blobs)

    def test_keys_come_once_each_page_by_page_also_from_behind_a_key_that_never_was(self, store: Store) -> None:
        store.commit(Commit(states={f"u:{n}": b"x" for n in range(25)}))
        everyone, after = [], None
        while page := store.keys(after, limit=10):
            everyone += page
            after = page[-1]
        assert everyone == store.keys()
        assert sorted(everyone) == sorted(f"u:{n}" for n in range(25))
        cut = store.keys("u:never", limit=100)
        assert cut == everyone[len(everyone) - len(cut) :]


class TestLog:
    def test_an_empty_log_has_no_position_and_no_time(self, kept: Opened) -> None:
        assert (kept.store.last_position(), kept.store.last_received_at(), kept.store.log()) == (0, 0, [])

    def test_records_read_back_as_they_were_appended(self, kept: Opened) -> None:
        forwarded = EventBody(event("e2", 5, n=[1, {"ü": None}], f=1.5), [suppression("a@example.com")], hops=2)
        log = [
            (1, arrival("u:1", "e1", 10, received_at=12)),
            (2, Record("a:x", "e2", 13, 7, forwarded, flags=1)),
            (5, Record("a:x", "hop", 13, 7, Link("u:1"))),
            (6, wake("u:1", 14)),
        ]
        kept.store.commit(Commit(log=log))
        again = kept.again()
        assert again.log() == log
        assert again.log(after=2, limit=1) == log[2:3]
        assert again.log(after=6) == []
        assert (again.last_position(), again.last_received_at()) == (6, 14)

    @pytest.mark.parametrize("apart", [True, False], ids=["two commits", "one commit"])
    def test_a_repeated_event_is_once_in_history_and_twice_in_the_log(self, kept: Opened, apart: bool) -> None:
        log = [(1, arrival("u:1", "e1", 10, n=1)), (2, arrival("u:1", "e1", 10, received_at=11, n=1))]
        _commit_log(kept.store, log, apart)
        assert kept.again().log() == log
        assert list(kept.store.history("u:1")) == [event("e1", 10, n=1)]

    @pytest.mark.parametrize("apart", [True, False], ids=["two commits", "one commit"])
    def test_of_two_events_in_one_place_history_keeps_the_first_and_the_log_both(
        self, kept: Opened, apart: bool
    ) -> None:
        log = [
            (1, arrival("u:1", "e1", 10, n=1)),
            (2, arrival("u:1", "e1", 10, n=2)),
            (3, arrival("u:1", "e1", 10, n=1)),
        ]
        _commit_log(kept.store, log, apart)
        assert kept.again().log() == log
        assert list(kept.store.history("u:1")) == [event("e1", 10, n=1)]

    def test_a_position_that_is_not_above_the_last_one_is_refused_and_nothing_of_its_commit_stays(
        self, kept: Opened
    ) -> None:
        kept.store.commit(Commit(log=[(3, wake("u:1", 1))]))
        for positions in ([3], [2], [4, 4], [5, 4]):
            with pytest.raises(ValueError, match="second writer"):
                kept.store.commit(Commit(log=[(p, wake("u:1", 2)) for p in positions], states={"u:1": b"x"}))
        assert kept.store.states(["u:1"]) == [None]
        assert kept.store.last_position() == 3


def _commit_log(store: Store, log: list[tuple[int, Record]], apart: bool) -> None:
    for part in [[row] for row in log] if apart else [log]:
        store.commit(Commit(log=part))


class TestHistory:
    def test_events_come_by_time_then_id_and_only_of_that_person(self, opened: Opened) -> None:
        placed = [("e2", 10), ("e1", 10), ("e3", -5), ("e4", 0), ("e5", 11), ("\x00", 10)]
        log = [(n, arrival("u:1", id, at, received_at=100)) for n, (id, at) in enumerate(placed, 1)]
        others = [(n, arrival(key, "other", 10)) for n, key in enumerate(["u:", "u:1\x00", "u:10", "a:1"], 10)]
        opened.store.commit(Commit(log=log + others))
        again = opened.again()

        def ids(found: "list[Event]") -> list[str]:
            return [row.event_id for row in found]

        assert ids(list(again.history("u:1"))) == ["e4", "\x00", "e1", "e2", "e5"]
        assert ids(list(again.history("u:1", since=-5))) == ["e3", "e4", "\x00", "e1", "e2", "e5"]
        assert ids(list(again.history("u:1", since=0, until=11))) == ["e4", "\x00", "e1", "e2"]
        assert ids(list(again.history("u:1", since=11, until=10))) == []
        everything, end = again.history_part("u:1", None)
        assert ids(everything) == ["e3", "e4", "\x00", "e1", "e2", "e5"] and end is None
        part, place = again.history_part("u:1", None, limit=4)
        assert (ids(part), place) == (["e3", "e4", "\x00", "e1"], (10, "e1"))
        part, place = again.history_part("u:1", None, place, limit=2)
        assert (ids(part), place) == (["e2", "e5"], (11, "e5"))
        assert again.history_part("u:1", None, place) == ([], None)
        assert again.history_part("u:1", frozenset({"Nothing"}), limit=3) == ([], (10, "\x00"))
        assert ids(again.recent_history("u:1", 3)) == ["e5", "e2", "e1"]
        assert again.recent_history("u:1", 0) == []

    def test_an_iterator_does_not_see_what_is_committed_after_it_was_asked_for(self, store: Store) -> None:
        store.commit(Commit(log=[(1, arrival("u:1", "e1", 10))]))
        found = store.history("u:1")
        store.commit(Commit(log=[(2, arrival("u:1", "e2", 20))]))
        assert [row.event_id for row in found] == ["e1"]

    def test_a_large_event_is_kept_whole(self, opened: Opened) -> None:
        opened.store.commit(Commit(log=[(1, arrival("u:1", "e1", 1, text=HUGE))]))
        assert next(opened.again().history("u:1")).properties["text"] == HUGE


class TestWakeups:
    def test_due_comes_earliest_first_and_nothing_later_than_now(self, opened: Opened) -> None:
        opened.store.commit(
            Commit(wakeups={"u:1": (None, 30), "u:2": (None, -10), "u:3": (None, 0), "u:4": (None, 20)})
        )
        again = opened.again()
        assert again.next_due() == -10
        assert again.due(20) == [(-10, "u:2"), (0, "u:3"), (20, "u:4")]
        assert again.due(20, limit=1) == [(-10, "u:2")]
        assert again.due(-11) == []

    def test_a_wakeup_moves_and_goes(self, opened: Opened) -> None:
        opened.store.commit(Commit(wakeups={"u:1": (None, 10), "u:2": (None, 20)}))
        opened.store.commit(Commit(wakeups={"u:1": (10, 30), "u:2": (20, 20)}))
        assert opened.store.due(100) == [(20, "u:2"), (30, "u:1")]
        opened.store.commit(Commit(wakeups={"u:2": (20, None)}))
        assert opened.store.next_due() == 30
        opened.store.commit(Commit(wakeups={"u:1": (30, None)}))
        assert (opened.again().next_due(), opened.store.due(1000)) == (None, [])

    def test_one_that_is_set_before_all_others_is_found_after_an_empty_look(self, store: Store) -> None:
        assert store.due(1000) == []
        store.commit(Commit(wakeups={"u:1": (None, 500)}))
        assert store.due(400) == []
        store.commit(Commit(wakeups={"u:2": (None, 100)}))
        assert store.due(1000) == [(100, "u:2"), (500, "u:1")]


class TestMessages:
    def test_newest_first_and_the_same_instant_by_id(self, opened: Opened) -> None:
        opened.store.commit(messages(message("m1", 10), message("m3", -20), message("m2", 10), message("m4", 30)))
        assert _ids(opened.again()) == ["m4", "m1", "m2", "m3"]

    def test_by_person_and_by_status(self, store: Store) -> None:
        store.commit(
            messages(message("m1", 1, "u:1"), message("m2", 2, "u:2", "sent"), message("m3", 3, "u:1", "sent"))
        )
        assert _ids(store, key="u:1") == ["m3", "m1"]
        assert _ids(store, status="sent") == ["m3", "m2"]
        assert _ids(store, key="u:1", status="queued") == ["m1"]
        assert _ids(store, key="u:3") == []

    def test_queued_ones_oldest_first_behind_any_place(self, opened: Opened) -> None:
        rows = [message(f"m{n}", n // 3) for n in range(9)] + [message("x", 1, status="sent"), message("y", -5)]
        opened.store.commit(messages(*rows))
        store = opened.again()
        everything = [row.message_id for row in store.queued_messages((-(1 << 62), ""), 100)]
        assert everything == ["y", "m2", "m1", "m0", "m5", "m4", "m3", "m8", "m7", "m6"]
        assert [row.message_id for row in store.queued_messages((1, "m5"), 3)] == ["m4", "m3", "m8"]
        assert [row.message_id for row in store.queued_messages((0, ""), 2)] == ["m5", "m4"]
        assert store.queued_messages((2, "m6"), 5) == []

    def test_of_a_broadcast_and_of_its_messages_with_a_status(self, opened: Opened) -> None:
        def of(name: str, id: str, at: int, status: str = "queued") -> MessageRow:
            return replace(message(id, at, status=status), journey=journey_of(name))

        rows = [of("b", "m1", 1), of("b", "m2", 2, "sent"), of("b\x00", "m3", 3), of("bb", "m4", 4), of("b", "m5", 2)]
        opened.store.commit(messages(*rows, message("m6", 6)))
        assert _ids(opened.store, broadcast="b") == ["m2", "m5", "m1"]
        assert _ids(opened.store, broadcast="b", status="sent") == ["m2"]
        opened.again().commit(messages(of("b", "m5", 2, "sent")))
        assert _ids(opened.store, broadcast="b", status="sent") == ["m2", "m5"]
        assert _ids(opened.store, broadcast="b", key="u:2") == []
        page, cursor = opened.store.messages(broadcast="b", limit=2)
        assert [row.message_id for row in page] == ["m2", "m5"]
        assert [row.message_id for row in opened.store.messages(broadcast="b", cursor=cursor)[0]] == ["m1"]

    def test_a_changed_status_moves_the_message_from_one_list_to_the_other(self, opened: Opened) -> None:
        opened.store.commit(messages(message("m1", 1), message("m2", 2, status="deferred")))
        opened.again().commit(messages(message("m1", 1, status="sending", outcomes=[("opened", 9, True)])))
        assert _ids(opened.store, status="queued") == []
        assert [row.message_id for row in opened.again().unfinished_messages()] in (["m1", "m2"], ["m2", "m1"])
        opened.store.commit(messages(message("m1", 1, status="sent"), message("m2", 2, status="cancelled")))
        assert list(opened.again().unfinished_messages()) == []
        assert _ids(opened.store, status="sent") == ["m1"]

    def test_a_row_in_hand_is_a_copy(self, store: Store) -> None:
        mine = message("m1", 1)
        store.commit(messages(mine))
        mine.status = "sent"
        read = store.message("m1")
        assert read == message("m1", 1)
        read.status = "bounced"
        assert store.message("m1") == message("m1", 1)
        assert store.message("m2") is None

    def test_pages_neither_repeat_nor_skip_while_new_messages_come_in(self, store: Store) -> None:
        store.commit(messages(*(message(f"m{n:02}", n // 3) for n in range(20))))
        before = _ids(store)
        seen, cursor = [], None
        for turn in range(10):
            rows, cursor = store.messages(limit=3, cursor=cursor)
            seen += [row.message_id for row in rows]
            store.commit(messages(message(f"new{turn}", 100 + turn)))
            if cursor is None:
                break
        assert seen == before

    @pytest.mark.parametrize("broken", ["x", "", "ÄÖ", "AAAA", "kgGhYg==x"])
    def test_a_cursor_from_elsewhere_is_refused(self, store: Store, broken: str) -> None:
        store.commit(messages(message("m1", 1)))
        with pytest.raises(ValueError, match="cursor"):
            store.messages(cursor=broken)


def _place(key: str) -> tuple[int, str]:
    return bucket(key), key


def _ids(store: Store, *, key: str | None = None, status: str | None = None, broadcast: str | None = None) -> list[str]:
    rows, cursor = store.messages(key=key, status=status, broadcast=broadcast)
    assert cursor is None
    return [row.message_id for row in rows]


class TestRequests:
    def test_a_request_waits_until_it_is_over_also_across_a_restart(self, opened: Opened) -> None:
        rows = [request("r1"), request("r2", body=b"", url="https://x/\x00?q=1", give_up_at=-1)]
        opened.store.commit(requests(*rows))
        assert list(opened.again().requests()) == rows
        opened.store.commit(Commit(requests={"r1": None, "never": None}))
        again = opened.again()
        assert list(again.requests()) == [rows[1]]
        assert (again.request("r1"), again.request("r2"), again.request("never")) == (None, rows[1], None)

    def test_they_are_listed_by_id_from_behind_any_place(self, store: Store) -> None:
        names = [name for name in ODD if name]
        store.commit(requests(*map(request, names)))
        for place in ["", *names, "b", "never"]:
            found = [row.request_id for row in store.requests(place)]
            assert found == sorted((name for name in names if name > place), key=str.encode)

    def test_a_listing_shows_one_instant(self, store: Store) -> None:
        store.commit(requests(*(request(f"r{n:03}") for n in range(100))))
        listing = store.requests()
        next(listing)
        store.commit(Commit(requests={f"r{n:03}": None for n in range(100)}))
        assert len(list(listing)) == 99
        assert list(store.requests()) == []


class TestBroadcasts:
    def test_the_row_is_as_it_was_last_written_also_across_a_restart(self, opened: Opened) -> None:
        first, second = broadcast("b1", 1), broadcast("b2", 2, "draft")
        opened.store.commit(broadcasts(first, second))
        counts = {"people": {"entered": 7}, "refused": {"no_address": 1}, "messages": {"sent": 7}}
        counted = broadcast("b1", 1, "paused", reason="too hot", after="u:7", offered=8, again=["a:1"], **counts)
        opened.store.commit(broadcasts(counted))
        again = opened.again()
        assert again.broadcast("b1") == counted
        assert again.broadcasts() == ([second, counted], None)
        assert again.broadcast("never") is None

    def test_they_are_listed_newest_first_page_by_page(self, store: Store) -> None:
        rows = [broadcast(f"b{n}", n // 2) for n in range(7)]
        store.commit(broadcasts(*rows))
        found, cursor = store.broadcasts(limit=3)
        while cursor is not None:
            page, cursor = store.broadcasts(limit=3, cursor=cursor)
            found += page
        assert found == sorted(rows, key=lambda row: (-row.created_at, row.broadcast_id))
        with pytest.raises(ValueError, match="cursor"):
            store.broadcasts(cursor="x")

    def test_a_forgotten_one_is_gone(self, opened: Opened) -> None:
        opened.store.commit(broadcasts(broadcast("b1"), broadcast("b2")))
        opened.store.commit(Commit(broadcasts={"b1": None, "never": None}))
        assert [row.broadcast_id for row in opened.again().broadcasts()[0]] == ["b2"]


class TestLedger:
    def test_rows_of_one_address_by_topic(self, opened: Opened) -> None:
        rows = [LedgerRow("a@x.example", "offers", True, 5), LedgerRow("a@x.example", "news", False, 6)]
        opened.store.commit(ledger(*rows, LedgerRow("a@x.example.org", "offers", True, 1)))
        assert opened.again().ledger("a@x.example") == [rows[1], rows[0]]
        assert opened.store.ledger("nobody@x.example") == []

    def test_suppressions_list_what_is_stopped_now(self, opened: Opened) -> None:
        stopped = [suppression("a@x.example", "!bounce"), suppression("a@x.example"), suppression("b@x.example")]
        opened.store.commit(ledger(*stopped, LedgerRow("c@x.example", "offers", False, 1)))
        page, cursor = opened.again().suppressions(limit=2)
        assert page == stopped[:2]
        assert opened.store.suppressions(cursor=cursor) == (stopped[2:], None)
        opened.store.commit(ledger(suppression("a@x.example", given=True, at=2)))
        assert opened.store.suppressions() == ([stopped[0], stopped[2]], None)

    def test_every_word_of_the_ledger_is_read_once_in_parts(self, opened: Opened) -> None:
        said = [suppression(address, topic) for address in ("a@x", "a@xy", "ü@x") for topic in ("!bounce", "offers")]
        opened.store.commit(ledger(*reversed(said)))
        store, found = opened.again(), []
        while part := store.words((found[-1].address, found[-1].topic) if found else None, 4):
            found += part
        assert found == said

    def test_suppressions_that_begin_alike(self, store: Store) -> None:
        stopped = [suppression(address) for address in ("a@x", "ab@x", "ab@xy", "b@x", "ü@x")]
        store.commit(ledger(*stopped))
        assert store.suppressions(prefix="ab") == (stopped[1:3], None)
        assert store.suppressions(prefix="ab@xy") == ([stopped[2]], None)
        assert store.suppressions(prefix="ü") == ([stopped[4]], None)
        page, cursor = store.suppressions(limit=1, prefix="ab")
        assert (page, store.suppressions(cursor=cursor, prefix="ab")) == (stopped[1:2], (stopped[2:3], None))
        assert store.suppressions(cursor=cursor, prefix="a@") == ([], None)
        assert store.suppressions(cursor=cursor, prefix="b") == (stopped[3:4], None)


class TestLookups:
    def test_members_behind_a_key_that_need_not_be_one(self, store: Store) -> None:
        store.commit(Commit(members={("vip", f"u:{n}"): n for n in range(20)}))
        everyone = store.members("vip", limit=100)[0]
        for place in [*(f"u:{n}" for n in range(25)), "a:never"]:
            store.commit(Commit(members={("vip", place): None}))
            rest = [one for one in everyone if one[0] != place]
            store.commit(Commit(states={}, members={("vip", key): since for key, since in everyone}))
            behind = [key for key, _ in store.members("vip", 100, after=place)[0]]
            assert behind == [key for key, _ in rest if _place(key) > _place(place)]

    def test_an_address_is_held_by_many_keys(self, opened: Opened) -> None:
        opened.store.commit(Commit(emails={("a@x", "u:2"): True, ("a@x", "u:1"): True, ("a@x.org", "u:3"): True}))
        assert opened.again().keys_of_email("a@x") == ["u:1", "u:2"]
        opened.store.commit(Commit(emails={("a@x", "u:1"): False, ("b@x", "u:9"): False}))
        assert opened.store.keys_of_email("a@x") == ["u:2"]

    def test_addresses_that_begin_alike(self, opened: Opened) -> None:
        held = {("b@x", "u:1"): True, ("ab@x", "u:1"): True, ("ab@x", "u:2"): True, ("aa@x", "u:3"): True}
        opened.store.commit(Commit(emails=held | {("ac\x00@x", "u:4"): True}))
        assert opened.again().emails("a") == ["aa@x", "ab@x", "ac\x00@x"]
        assert opened.store.emails("a", limit=2) == ["aa@x", "ab@x"]
        assert opened.store.emails() == ["aa@x", "ab@x", "ac\x00@x", "b@x"]
        opened.store.commit(Commit(emails={("ab@x", "u:1"): False, ("ab@x", "u:2"): False}))
        assert opened.store.emails("ab") == []

    def test_members_and_their_exact_number(self, opened: Opened) -> None:
        everyone = {("buyers", f"u:{n}"): n for n in range(30)}
        opened.store.commit(Commit(members=everyone | {("buyers\x00", "u:1"): 1, ("vip", "u:1"): 7}))
        opened.store.commit(Commit(members={("buyers", "u:3"): 33, ("buyers", "u:4"): None, ("buyers", "u:99"): None}))
        again = opened.again()
        found, cursor = [], None
        while True:
            page, cursor = again.members("buyers", limit=7, cursor=cursor)
            found += page
            if cursor is None:
                break
        assert dict(found) == {f"u:{n}": 33 if n == 3 else n for n in range(30) if n != 4}
        assert again.member_count("buyers") == len(found) == 29
        assert (again.members("vip"), again.member_count("vip")) == (([("u:1", 7)], None), 1)
        assert (again.members("none"), again.member_count("none")) == (([], None), 0)

    def test_a_journal_is_read_newest_first_and_of_one_instant_the_last_appended_first(self, opened: Opened) -> None:
        facts = [fact(5, n=1), fact(9, n=2), fact(5, n=3), fact(-1, n=4)]
        opened.store.commit(Commit(journal=[("u:1", row) for row in facts[:2]] + [("u:2", fact(7))]))
        opened.again().commit(Commit(journal=[("u:1", row) for row in facts[2:]]))
        assert [row.data["n"] for row in opened.again().journal("u:1")] == [2, 3, 1, 4]
        assert [row.data["n"] for row in opened.store.journal("u:1", limit=1, before=9)] == [3]

    def test_dead_letters_are_listed_newest_first_and_marked_when_replayed(self, opened: Opened) -> None:
        letters = [dead_letter("d3", 30), dead_letter("d1", 10), dead_letter("d2", 10)]
        opened.store.commit(Commit(dead_letters={letter.id: letter for letter in reversed(letters)}))
        page, cursor = opened.again().dead_letters(limit=2)
        assert page == letters[:2]
        assert opened.store.dead_letters(cursor=cursor) == (letters[2:], None)
        letters[0].replayed_at = 99
        opened.store.commit(Commit(dead_letters={"d3": letters[0]}))
        assert opened.again().dead_letter("d3") == letters[0]
        assert opened.store.dead_letters() == (letters, None)
        assert opened.store.dead_letter("d9") is None


class TestPlans:
    def test_the_highest_version_is_the_current_one(self, opened: Opened) -> None:
        assert (opened.store.plan(), opened.store.plans()) == (None, [])
        for version in (1, 2, 300):
            opened.store.commit(Commit(plan=PlanRow(version, b'{"v": %d}' % version, version * 10)))
        again = opened.again()
        assert again.plan() == PlanRow(300, b'{"v": 300}', 3000)
        assert again.plan(2) == PlanRow(2, b'{"v": 2}', 20)
        assert again.plan(3) is None
        assert again.plans() == [(1, 10), (2, 20), (300, 3000)]

    def test_named_values(self, opened: Opened) -> None:
        opened.store.commit(Commit(meta={"format": b"mine", "": b"", "ü\x00": b"x"}))
        again = opened.again()
        assert [again.meta(name) for name in ("format", "", "ü\x00", "other")] == [b"mine", b"", b"x", None]
        assert again.metas() == ["", "format", "ü\x00"]

    def test_named_values_are_found_by_their_beginning_and_forgotten(self, opened: Opened) -> None:
        opened.store.commit(Commit(meta={"a": b"0", "a:1": b"1", "a:2": b"2", "a:ü": b"3", "b": b"4"}))
        assert opened.store.metas("a:") == ["a:1", "a:2", "a:ü"]
        opened.store.commit(Commit(meta={"a:1": None, "a:3": None, "a:2": b"new"}))
        again = opened.again()
        assert (again.metas("a:"), again.meta("a:1"), again.meta("a:2")) == (["a:2", "a:ü"], None, b"new")


class TestExpiry:
    def test_the_log_goes_from_the_front_and_keeps_its_last_row(self, kept: Opened) -> None:
        store = kept.store
        store.commit(Commit(log=[(n, wake("u:1", n * 10)) for n in range(1, 6)]))
        assert _expire(store, log_before=30) == 2
        assert [position for position, _ in store.log()] == [3, 4, 5]
        assert _expire(store, log_before=1000) == 2
        assert [position for position, _ in kept.again().log()] == [5]
        assert (kept.store.last_position(), kept.store.last_received_at()) == (5, 50)

    def test_history_that_the_log_still_points_at_stays(self, kept: Opened) -> None:
        log = [(1, arrival("u:1", "e1", 10)), (2, arrival("u:1", "e2", 20)), (3, arrival("u:2", "e3", 5, 30))]
        kept.store.commit(Commit(log=log))
        assert _expire(kept.store, history_before=1000) == 0
        assert _expire(kept.store, log_before=20, history_before=1000) == 2
        assert kept.again().log() == log[1:]
        assert [row.event_id for row in kept.store.history("u:1")] == ["e2"]

    def test_a_repeat_keeps_the_event_it_points_at(self, kept: Opened) -> None:
        log = [(1, arrival("u:1", "e1", 10)), (2, arrival("u:1", "e1", 10, received_at=50))]
        kept.store.commit(Commit(log=log[:1]))
        kept.store.commit(Commit(log=log[1:]))
        assert _expire(kept.store, log_before=50, history_before=1000) == 1
        assert kept.again().log() == log[1:]

    def test_an_import_counts_from_when_it_was_received(self, kept: Opened) -> None:
        store = kept.store
        store.commit(Commit(log=[(1, arrival("u:1", "old", 1, received_at=500)), (2, wake("u:1", 600))]))
        assert _expire(store, log_before=1000, history_before=500) == 1
        assert [row.event_id for row in store.history("u:1")] == ["old"]
        assert _expire(store, history_before=501) == 1
        assert list(store.history("u:1")) == []

    def test_journal_messages_and_dead_letters_go_and_the_unfinished_stay(self, opened: Opened) -> None:
        rows = [message("m1", 10, status="sent"), message("m2", 11), message("m3", 12, status="skipped")]
        letters = {letter.id: letter for letter in (dead_letter("d1", 10), dead_letter("d2", 20))}
        facts = [("u:1", fact(at)) for at in (10, 11, 12)] + [("u:2", fact(5))]
        opened.store.commit(Commit(messages={r.message_id: r for r in rows}, dead_letters=letters, journal=facts))
        assert _expire(opened.store, history_before=12, dead_letters_before=11) == 3 + 1 + 1
        again = opened.again()
        assert _ids(again) == ["m3", "m2"]
        assert (_ids(again, key="u:1"), _ids(again, status="sent")) == (["m3", "m2"], [])
        assert again.dead_letters() == ([letters["d2"]], None)
        assert (again.journal("u:1"), again.journal("u:2")) == ([fact(12)], [])
        assert _expire(again, history_before=12, dead_letters_before=11) == 0

    def test_repeated_calls_reach_everybody(self, store: Store) -> None:
        people = [f"u:{n}" for n in range(1500)]
        facts = [(key, fact(at)) for key in people for at in (1, 2, 100)]
        store.commit(Commit(journal=facts))
        gone = sum(_expire(store, history_before=50) for _ in range(30))
        assert gone == 2 * len(people)
        assert all(store.journal(key) == [fact(100)] for key in people)


def _expire(
    store: Store, log_before: int = -1000, history_before: int = -1000, dead_letters_before: int = -1000
) -> int:
    return store.expire(log_before=log_before, history_before=history_before, dead_letters_before=dead_letters_before)


class TestTogether:
    def test_a_reader_never_sees_half_a_commit(self, store: Store) -> None:
        """A message is moved from one status to the other while it is looked for: it is always in one of them."""
        store.commit(messages(*(message(f"m{n}", n) for n in range(20))))
        stop, wrong = threading.Event(), []

        def read() -> None:
            while not stop.is_set():
                rows, _ = store.messages(status="queued")
                wrong.extend(row for row in rows if row.status != "queued")
                if len(rows) not in (0, 20):
                    wrong.append(rows[0])

        reader = threading.Thread(target=read)
        reader.start()
        for turn in range(200):
            status = ("sending", "queued")[turn % 2]
            store.commit(messages(*(message(f"m{n}", n, status=status) for n in range(20))), sync=False)
        stop.set()
        reader.join()
        assert not wrong

    def test_counts_are_numbers_under_known_names(self, store: Store) -> None:
        store.commit(Commit(states={"u:1": b"x"}, log=[(1, wake("u:1", 1))]))
        counts = store.counts()
        assert set(counts) == {"profiles", "log", "messages", "wakeups", "bytes"}
        assert counts["profiles"] == 1

    @pytest.mark.parametrize("people", [1, 500, 6000, 12_000])
    def test_people_are_not_counted_again_with_each_of_their_events(self, store: Store, people: int) -> None:
        """Exact where they are few, within four standard errors of what is looked at where they are many."""
        for _ in range(3):
            store.commit(Commit(states={f"u:{n}": b"x" for n in range(people)}))
        assert store.counts()["profiles"] == pytest.approx(people, rel=0 if people <= 4000 else 0.07)

    def test_an_empty_commit_changes_nothing(self, store: Store) -> None:
        store.commit(Commit())
        assert store.keys() == []

    def test_storage_order_is_the_same_on_every_adapter(self, store: Store) -> None:
        """By bucket, then by key: what sweeps and pages of members remember."""
        from heliograph.events.ids import bucket

        store.commit(Commit(states={f"u:{n}": b"" for n in range(50)}))
        assert all((bucket(a), a) < (bucket(b), b) for a, b in pairwise(store.keys()))


def test_the_twin_can_be_told_that_its_disk_is_full() -> None:
    from heliograph.adapters.memory import MemoryStore

    store = MemoryStore()
    store.full = True
    with pytest.raises(StoreFull):
        store.commit(Commit(states={"u:1": b"x"}))
    assert store.states(["u:1"]) == [None]


def test_the_log_keeps_how_deep_an_event_is_and_what_forwarded_it(kept: Opened) -> None:
    """Also where its event is in history: a loop must be cut in a replay where it was cut live."""
    body = EventBody(Event("deep", "track", "Looked", 1_000, user_id="ann"), hops=2, depth=3)
    record = Record("u:ann", "deep", 1_000, 1, body)
    kept.store.commit(Commit(log=[(1, record)]))
    assert kept.store.log() == [(1, record)]
    assert kept.store.counts()["log"] == 1
