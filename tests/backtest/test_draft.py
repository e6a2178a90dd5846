"""What a draft would have done: exactly what is different about it, and nothing else."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heliograph.adapters.rocksdb import RocksView
from heliograph.backtest.__main__ import command
from heliograph.backtest.job import Job, Refused
from heliograph.backtest.report import Report
from tests.backtest.kit import DAY, HOUR, MINUTE, PLAIN, STAY, T0, World, backtest
from tests.runtime.harness import call, identify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three carts: ann's is abandoned, bob's is ordered after an hour, cyd has no address."""
    world = World(tmp_path / "data", PLAIN, seed=3)
    world.chance.random = lambda: 0.6  # type: ignore[method-assign]  # everything is sent, nobody opens
    world.send(identify("ann", email="ann@x.test"), identify("bob", email="bob@x.test"))
    for who in ("ann", "bob", "cyd"):
        world.send(call("Product Added", who, cart_id=f"of-{who}"))
    world.advance(HOUR)
    world.send(call("Order Completed", "bob", total=20.5))
    world.advance(2 * DAY)
    world.close()
    return tmp_path / "data"


def steps(*more: dict[str, Any], wait: str = "PT30M") -> dict[str, Any]:
    return {**STAY, "steps": [{"wait": wait}, *STAY["steps"][1:], *more]}


def test_the_published_version_differs_in_nothing(folder: Path) -> None:
    report = backtest(folder, "cart", STAY)
    assert report.live is not None
    assert report.live.version == report.draft
    assert (report.live.people, report.live.listed) == (0, [])
    assert (report.seen, report.draft.entrants, report.draft.started) == (3, 3, 3)
    assert (report.draft.goals, report.draft.value) == (1, 20.5)


def test_a_longer_wait_moves_the_mails_it_is_before_and_drops_those_that_come_too_late(folder: Path) -> None:
    """Ann's move by 45 minutes; bob has ordered by then."""
    report = backtest(folder, "cart", steps(wait="PT1H15M"))
    live = report.live
    assert live is not None
    assert (live.people, live.moved, live.only_live, live.only_draft) == (3, 2, 1, 0)
    firsts = {one.profile_id: (one.live, one.draft, one.draft_at - one.live_at) for one in live.listed}
    assert firsts == {
        "ann": ("mails cart-reminder", "mails cart-reminder", 45 * MINUTE),
        "bob": ("mails cart-reminder", "reaches the goal", 30 * MINUTE),
        "cyd": ("does not mail cart-reminder: no_address", "does not mail cart-reminder: no_address", 45 * MINUTE),
    }


def test_a_further_mail_is_one_more_for_whoever_gets_there(folder: Path) -> None:
    report = backtest(folder, "cart", steps({"wait": "PT1H"}, {"send": "thanks-for-looking"}))
    live = report.live
    assert live is not None
    assert (live.people, live.only_draft, live.moved, live.only_live) == (1, 1, 0, 0)
    assert live.listed[0].profile_id == "ann"
    assert any("thanks-for-looking" in note for note in report.notes)
    assert report.draft.days[-1].templates.get("thanks-for-looking", 0) == 1


def test_a_journey_that_is_not_published_is_tried_among_the_others(folder: Path) -> None:
    report = backtest(folder, "orders", {"entry": {"event": "Order Completed"}, "steps": [{"send": "thanks"}]})
    assert report.live is None
    assert (report.draft.entrants, report.draft.mails) == (1, 1)
    assert report.draft.other_mails == {"cart": 1}  # bob's: the others never order, so they get what they get
    assert report.seen == 3


def test_what_is_before_the_window_is_known_but_starts_nothing(folder: Path) -> None:
    """The address and what conditions count come from before; runs do not."""
    asked = {
        "entry": {"event": "Order Completed", "if": {"did": {"event": "Product Added"}}},
        "steps": [{"send": "thanks"}],
    }
    report = backtest(folder, "orders", asked, since=T0 + MINUTE)
    assert (report.seen, report.draft.entrants, report.draft.mails) == (1, 1, 1)
    assert backtest(folder, "cart", STAY, since=T0 + MINUTE).draft.started == 0


def test_a_window_that_ends_leaves_runs_where_they_are(folder: Path) -> None:
    report = backtest(folder, "cart", STAY, until=T0 + 10 * MINUTE)
    assert (report.draft.active, report.draft.mails) == (3, 0)
    assert report.draft.steps[0].waiting == 3


def test_imported_events_count_as_if_they_had_come_live(tmp_path: Path) -> None:
    world = World(tmp_path / "data", PLAIN)
    past = {"historical": True}
    world.send(
        call("Identified", "old", type="identify", at=T0 - 9 * DAY, traits={"email": "old@x.test"}, context=past),
        call("Product Added", "old", cart_id="c", at=T0 - 8 * DAY, context=past),
    )
    assert world.store.messages()[0] == []
    world.close()
    report = backtest(tmp_path / "data", "cart", STAY, since=T0 - 30 * DAY, until=T0 - DAY)
    assert [(day.day, day.mails) for day in report.draft.days] == [("2025-06-07", 2)]


def test_where_the_log_was_cut_history_tells_the_same(tmp_path: Path) -> None:
    """With its real outcomes from the rows of the messages."""
    world = World(tmp_path / "data", PLAIN, seed=1)
    world.send(identify("ann", email="ann@x.test"), call("Product Added", "ann", cart_id="c"))
    world.advance(2 * DAY)
    world.send(call("Product Viewed", "bob"))
    whole = backtest_closed(world, STAY)
    world.store = type(world.store)(world.folder)
    world.store.expire(log_before=T0 + DAY, history_before=0, dead_letters_before=0)
    assert world.store.log(limit=1)[0][0] > 1
    cut = backtest_closed(world, STAY)
    assert cut.log_from > 0
    assert cut.draft == whole.draft


def backtest_closed(world: World, journey: dict[str, Any]) -> Report:
    world.close()
    return backtest(world.folder, "cart", journey)


def test_a_draft_that_does_not_fit_is_refused_with_its_places(folder: Path) -> None:
    with pytest.raises(Refused) as refused:
        backtest(folder, "cart", {**STAY, "entry": {"segment": "buyer"}})
    paths = dict(refused.value.problems)
    assert "did you mean buyers?" in paths["journeys.cart.entry.segment"]


# -- the process --


def words_of(job: Job) -> list[dict[str, Any]]:
    """What a process says; it ends when nobody holds its stdin any more."""
    with subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(msgspec.json.encode(job) + b"\n")
        child.stdin.flush()
        return [msgspec.json.decode(line) for line in child.stdout]


def test_however_many_processes_the_report_is_the_same(folder: Path) -> None:
    window = (T0 - DAY, T0 + 30 * DAY)
    alone, together = (words_of(Job(str(folder), "cart", steps(wait="PT2H"), *window, number))[-1] for number in (1, 3))
    assert alone["say"] == "report"
    assert alone == together
    assert alone["report"]["live"]["people"] == 3


def test_no_process_of_a_backtest_can_open_a_socket() -> None:
    tries = (
        "import heliograph.backtest.__main__ as m, socket, sys, asyncio\n"
        "m.forbid_sockets()\n"
        "for make in (socket.socket, lambda: socket.create_connection(('127.0.0.1', 9)), socket.socketpair):\n"
        "    try:\n"
        "        make()\n"
        "    except PermissionError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", tries], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout.count("a backtest opens no socket") == 3


def test_a_view_stays_where_it_is_and_takes_no_lock(tmp_path: Path) -> None:
    world = World(tmp_path / "data", PLAIN)
    world.send(identify("ann", email="ann@x.test"))
    view = RocksView(tmp_path / "data")
    before = view.last_position()
    world.send(call("Product Viewed", "ann"))
    assert [len(view.log(limit=100)), len(list(view.history("u:ann")))] == [before, 1]
    view.catch_up()
    assert view.last_position() == world.store.last_position()
    assert len(list(view.history("u:ann"))) == 2
    view.close()
    world.close()
