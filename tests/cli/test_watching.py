"""How far a broadcast is, in words: figures from one look, a rate from several, and where watching ends."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from heliograph.cli import watching
from heliograph.cli.delivery import troubles
from heliograph.cli.watching import Figures, Pace, clock

DOCUMENT = {"template": "spring", "topic": "offers", "audience": {"segment": "buyers"}, "holdout": "5%"}


LEFT_OUT = {
    "people": {"total": 10, "offered": 10, "entered": 10, "held_out": 0, "waiting": 0, "refused": {}},
    "messages": {"sent": 7, "skipped": 3},
    "skipped": {"no_consent: offers": 3},
}


def row(status: str = "running", offered: int = 0, reason: str = "", **counts: Any) -> dict[str, Any]:
    people = {"total": 1_000, "offered": offered, "entered": 0, "refused": counts.pop("refused", {})}
    people |= {name: counts.pop(name, 0) for name in ("held_out", "waiting")}
    progress = {"people": people, "skipped": counts.pop("skipped", {}), "messages": counts}
    return {"broadcast_id": "bf", "name": "Black Friday", "status": status, "reason": reason, "progress": progress,
            "starts_at": 1_000, "started_at": 1_000, "ended_at": None, "document": DOCUMENT}  # fmt: skip


class Server:
    """Answers with one look after the other."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows: Iterator[dict[str, Any]] = iter(rows)

    def get(self, path: str) -> dict[str, Any]:
        assert path == "/broadcasts/bf"
        return next(self._rows)


def watch(monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], *more: dict[str, Any]) -> int:
    monkeypatch.setattr(watching.time, "sleep", lambda _: None)
    return watching.follow(Server(*more), first)  # type: ignore[arg-type]


def test_figures_count_everybody_once() -> None:
    figures = Figures(row(offered=700, waiting=50, sent=400, delivered=10, queued=90, sending=10, bounced=5, unknown=2,
                          skipped={"no_consent: offers": 30, "same_address": 3}, held_out=40,
                          refused={"no_address": 90, "if_false": 10}))  # fmt: skip
    assert (figures.done, figures.total, figures.sent, figures.waiting) == (550, 1_000, 410, 150)
    assert figures.words() == (
        "sent 410  queued 150  skipped 173 (no_address 90, holdout 40, no_consent: offers 30, ...)  "
        "bounced 5  unknown 2"
    )


def test_a_rate_and_what_is_left_come_from_the_latest_looks() -> None:
    pace = Pace()
    for second in range(30):
        pace.look(float(second), Figures(row(offered=second * 20, sent=second * 10)))
    assert pace.words(Figures(row(offered=600, sent=300))) == "10/s  0:00:20 left"


@pytest.mark.parametrize("looks", [[(0.0, 5)], [(0.0, 5), (1.0, 5)], [(1.0, 5), (1.0, 9)]])
def test_without_progress_nothing_is_promised(looks: list[tuple[float, int]]) -> None:
    pace = Pace()
    for at, sent in looks:
        pace.look(at, Figures(row(offered=sent, sent=sent)))
    assert pace.words(Figures(row(offered=9, sent=9))) == ""


@pytest.mark.parametrize(("seconds", "said"), [(0, "0:00:00"), (61.4, "0:01:01"), (3_725, "1:02:05"), (-3, "0:00:00")])
def test_a_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_watching_ends_with_the_broadcast(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = watch(
        monkeypatch, row(offered=10, queued=10), row(offered=500, sent=500), row("finished", 1_000, sent=1_000)
    )
    said = capsys.readouterr().out
    assert code == 0
    assert "running: 0 of 1,000 people  sent 0  queued 10\n" in said
    assert "Black Friday (bf) is finished" in said and "1,000  sent" in said


def test_one_that_pauses_itself_says_why_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = watch(monkeypatch, row(offered=10, queued=10), row("paused", 500, "7 % bounced", bounced=35, queued=10))
    said = capsys.readouterr().out
    assert code == 1
    assert "is paused: 7 % bounced" in said and "`heliograph broadcasts resume bf` goes on" in said


@pytest.mark.parametrize(("document", "said"), [
    (DOCUMENT, "template spring, topic offers, holdout 5%, to the segment buyers"),
    ({"template": "recall", "notice": True, "audience": {"broadcast": "spring"}},
     "template recall, service notice, to who got spring"),
    ({"template": "spring", "audience": {"everyone": True}, "at": "2026-11-27T08:00", "local_time": True},
     "template spring, topic marketing, at 2026-11-27T08:00 on each person's clock, to everyone"),
])  # fmt: skip
def test_what_goes_to_whom_is_said_in_words(document: dict[str, Any], said: str) -> None:
    assert watching.whom(document) == said


def test_a_draft_says_what_it_is_and_what_sends_it(capsys: pytest.CaptureFixture[str]) -> None:
    watching.show({**row("draft"), "started_at": None, "starts_at": None})
    said = capsys.readouterr().out
    assert "to the segment buyers" in said and "`heliograph broadcasts start bf` sends it" in said


def test_what_is_unknown_is_told_with_what_settles_it(capsys: pytest.CaptureFixture[str]) -> None:
    watching.show(row("finished", 1_000, sent=990, unknown=10))
    assert "drop --all-unknown -b bf" in capsys.readouterr().out
    watching.show(row("finished", 1_000, sent=1_000))
    assert "unknown" not in capsys.readouterr().out


def test_who_is_left_out_is_said_once_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    watching.show(row("finished", 10, sent=7) | {"progress": LEFT_OUT})
    said = capsys.readouterr().out
    assert "no_consent: offers" in said and "skipped" not in said


def test_what_a_cancel_takes_back_is_not_called_queued() -> None:
    assert Figures(row("cancelled", 500, queued=90, sent=400)).words() == "sent 400  being cancelled 90"
    assert Figures(row("cancelled", 500, cancelled=90, sent=400)).words() == "sent 400  cancelled 90"


def test_ctrl_c_ends_the_watching_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", interrupt)
    assert watching.follow(Server(), row(offered=10, queued=10)) == 130  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "goes on without you" in said and "broadcasts pause bf" in said


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=160, _environ={"TERM": "xterm"})
    monkeypatch.setattr(watching, "out", terminal)
    assert watch(monkeypatch, row(offered=500, sent=500), row("finished", 1_000, sent=1_000)) == 0
    assert "running" in screen.getvalue() and "50%" in screen.getvalue() and "sent 500" in screen.getvalue()


def test_eighty_columns_are_enough_for_the_bar_and_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        watching, "out", Console(file=screen, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    )
    refused = {"no_address": 100, "if_false": 20, "too_late": 5}
    looks = [row(offered=500 + n, sent=300 + n, queued=75, refused=refused) for n in range(3)]
    watch(monkeypatch, *looks, row("finished", 1_000, sent=875, refused=refused))
    said = screen.getvalue()
    assert "running  " in said and "━━━━" in said and "43%" in said and "sent 302  queued 75  skipped 125" in said


def test_what_keeps_mail_from_going_is_told_shortly() -> None:
    relays = {"default": {"works": False, "down_until": 1_000, "reason": "nothing listens there"}, "b": {"works": True}}
    suspended = {"suspended_until": 1_000, "reason": "421 too many", "queued": 1_200}
    receivers = {"gmail": suspended, "x": {**suspended, "suspended_until": None}, "y": suspended, "z": suspended}
    assert troubles({"relays": relays, "receivers": receivers, "senders": {}}) == [
        "relay default is down until 1970-01-01 00:00:01Z: nothing listens there",
        "receiver gmail is suspended until 1970-01-01 00:00:01Z: 421 too many (1,200 wait)",
        "receiver y is suspended until 1970-01-01 00:00:01Z: 421 too many (1,200 wait)",
    ]


def test_a_sender_that_warms_up_holds_a_broadcast_up() -> None:
    warmup = {"warm": False, "tier": 1, "tiers": 16, "per_hour": 50, "per_day": 100, "sent_today": 46}
    senders = {"default": {"warmup": warmup}, "old": {"warmup": {**warmup, "warm": True}}, "other": {"warmup": None}}
    (said,) = troubles({"relays": {}, "receivers": {}, "senders": senders})
    assert said.startswith("sender default warms up, tier 1 of 16: 50/h, 46 of 100 today: what does not fit waits")
