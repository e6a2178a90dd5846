"""How far a broadcast is: a bar on a terminal, lines elsewhere."""

import time
from collections import deque
from typing import Any, Final

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

from heliograph.cli.client import Server, segment
from heliograph.cli.show import out, say, when

POLL_S: Final = 1.0
LINE_EVERY_S: Final = 10.0
"""Without a terminal."""
RATE_OVER: Final = 15
"""Polls over which a rate is taken."""
ROOM: Final = 130
"""Columns of a terminal from which on the bar has reasons beside it; they are in what is said at the end, too."""
SHOWN_REASONS: Final = 3
WAITING: Final = ("queued", "deferred", "sending")
GONE: Final = ("sent", "delivered")
ENDS: Final = {"finished": 0, "cancelled": 1, "paused": 1, "draft": 0}
"""Statuses in which watching ends, and the exit code."""

Row = dict[str, Any]


class Figures:
    """What one look at a broadcast tells.  ``done``: people whose part is over, of about ``total``."""

    def __init__(self, row: Row) -> None:
        progress = row["progress"]
        people, mails = progress["people"], progress["messages"]
        self.status: str = row["status"]
        self.queued = "being cancelled" if row["status"] == "cancelled" else "queued"
        self.offered: int = people["offered"]
        self.total: int = people["total"]
        self.sent = sum(mails.get(status, 0) for status in GONE)
        self.waiting = people["waiting"] + sum(mails.get(status, 0) for status in WAITING)
        self.bounced: int = mails.get("bounced", 0)
        self.others = {
            status: number
            for status, number in mails.items()
            if number and status not in (*GONE, *WAITING, "bounced", "skipped")
        }
        self.left_out = left_out(progress)
        self.done = max(0, self.offered - self.waiting)

    def words(self, *, brief: bool = False) -> str:
        """``sent 28,410  queued 1,200  skipped 331 (no_address 300, same_address 31)  bounced 12``.  ``brief``: no
        reasons."""
        parts = [f"sent {self.sent:,}"]
        parts += [f"{self.queued} {self.waiting:,}"] if self.waiting or self.queued == "queued" else []
        if self.left_out:
            parts.append(
                f"skipped {sum(self.left_out.values()):,}" + ("" if brief else f" ({_reasons(self.left_out)})")
            )
        parts += [f"bounced {self.bounced:,}"] if self.bounced else []
        parts += [f"{status} {number:,}" for status, number in sorted(self.others.items())]
        return "  ".join(parts)


def left_out(progress: dict[str, Any]) -> dict[str, int]:
    """Why people who were asked get nothing, the most frequent reason first."""
    people = progress["people"]
    found: dict[str, int] = {}
    for one in (people["refused"], {"holdout": people["held_out"]}, progress["skipped"]):
        for reason, number in one.items():
            found[reason] = found.get(reason, 0) + number
    return {reason: number for reason, number in sorted(found.items(), key=lambda item: (-item[1], item[0])) if number}


def _reasons(counts: dict[str, int]) -> str:
    shown = [f"{reason} {number:,}" for reason, number in list(counts.items())[:SHOWN_REASONS]]
    return ", ".join([*shown, "..."] if len(counts) > SHOWN_REASONS else shown)


class Pace:
    """How fast it goes, from the latest looks."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=RATE_OVER)

    def look(self, at: float, figures: Figures) -> None:
        self._looks.append((at, figures.done, figures.sent))

    def words(self, figures: Figures) -> str:
        """``612/s  0:00:31 left``, as much of it as is known."""
        (first, done, sent), (last, now_done, now_sent) = self._looks[0], self._looks[-1]
        seconds = last - first
        if seconds <= 0 or now_done <= done or now_sent <= sent:
            return ""
        left = (figures.total - figures.done) * seconds / (now_done - done)
        return f"{(now_sent - sent) / seconds:,.0f}/s  {clock(left)} left"


def clock(seconds: float) -> str:
    """``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def follow(server: Server, row: Row) -> int:
    """Show a broadcast until it ends or stops; the exit code.  Ctrl-C ends the watching alone."""
    name = row["broadcast_id"]
    try:
        row = _bar(server, row) if out.is_terminal else _lines(server, row)
    except KeyboardInterrupt:
        say(f"\n{name} goes on without you: `heliograph broadcasts show {name} --follow` comes back to it,")
        say(f"`heliograph broadcasts pause {name}` stops it")
        return 130
    show(row)
    return ENDS[row["status"]]


def _again(server: Server, row: Row) -> Row:
    time.sleep(POLL_S)
    found: Row = server.get(f"/broadcasts/{segment(row['broadcast_id'])}")
    return found


def _bar(server: Server, row: Row) -> Row:
    pace = Pace()
    status = TextColumn("{task.fields[status]:<9}", table_column=Column(min_width=9, no_wrap=True))
    bar = BarColumn(table_column=Column(min_width=8))
    share = TaskProgressColumn(table_column=Column(min_width=4, no_wrap=True))
    said = TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True))
    with Progress(status, bar, share, said, console=out, transient=True) as progress:
        task = progress.add_task("", total=None, status=row["status"], said="")
        while True:
            figures = Figures(row)
            pace.look(time.monotonic(), figures)
            told = f"{figures.words(brief=out.width < ROOM)}  {pace.words(figures)}"
            progress.update(task, total=figures.total or None, completed=figures.done, status=row["status"], said=told)
            progress.refresh()
            if row["status"] in ENDS:
                return row
            row = _again(server, row)


def _lines(server: Server, row: Row) -> Row:
    pace, said, printed = Pace(), "", float("-inf")
    while row["status"] not in ENDS:
        figures, now = Figures(row), time.monotonic()
        pace.look(now, figures)
        line = f"{figures.status}: {figures.done:,} of {figures.total:,} people  {figures.words()}"
        if figures.total and line != said and now - printed >= LINE_EVERY_S:
            say(f"{line}  {pace.words(figures)}".rstrip())
            said, printed = line, now
        row = _again(server, row)
    return row


def show(row: Row) -> None:
    """A broadcast with all its counts."""
    progress, name = row["progress"], row["broadcast_id"]
    people = progress["people"]
    because = f": {row['reason']}" if row["reason"] else ""
    say(f"{row['name']} ({name}) is {row['status']}{because}", "yellow" if row["status"] == "paused" else "bold")
    say(f"  {whom(row['document'])}")
    for word in ("starts", "started", "ended"):
        if row[f"{word}_at"]:
            say(f"  {word:<22}{when(row[f'{word}_at'])}")
    offered = f"offered it, of {people['total']:,}"
    _counts("people", {offered: people["offered"], "waiting for their clock": people["waiting"]})
    _counts("mails", {status: number for status, number in progress["messages"].items() if status != "skipped"})
    _counts("left out", left_out(progress))
    if progress["messages"].get("unknown"):
        say(f"`heliograph messages -s unknown -b {name}` lists those of which nobody knows whether they arrived;")
        say(f"`heliograph messages release | resend | drop --all-unknown -b {name} --reason TEXT`")
        say("settles those that are not settled yet")
    if row["status"] == "draft":
        say(f"`heliograph broadcasts start {name}` sends it")
    if row["status"] == "paused":
        say(f"`heliograph broadcasts resume {name}` goes on, `heliograph broadcasts cancel {name}` ends it")


def whom(document: Row) -> str:
    """What goes to whom, and how: ``template spring, topic offers, holdout 5%, to the segment buyers``."""
    about = "service notice" if document.get("notice") else f"topic {document.get('topic', 'marketing')}"
    clock = " on each person's clock" if document.get("local_time") else ""
    at = [f"at {document['at']}{clock}"] if document.get("at") else []
    how = [f"{word} {document[word]}" for word in ("rate", "holdout") if document.get(word)]
    return ", ".join([f"template {document['template']}", about, *at, *how, f"to {audience(document['audience'])}"])


def audience(document: Row) -> str:
    """An audience in words."""
    kind, value = next(iter(document.items()))
    words = {"everyone": "everyone", "if": "all of whom a condition is true", "broadcast": f"who got {value}"}
    return words.get(kind, f"the {kind} {value}")


def _counts(title: str, counts: dict[str, int]) -> None:
    for name, number in counts.items():
        if number:
            say(f"  {title:<12}{number:>9,}  {name}")
