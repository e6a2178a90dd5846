"""What must hold, whatever happens: checked at every commit, and again when a round has come to its end.

The watch sees commits (what is on disk) and answers (what somebody was told), and keeps its own books; it never asks
the code under test what is right.  A failed law is a :class:`Broken` that says which, and about what.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from heliograph.decide.broadcasts import broadcast_of
from heliograph.events.event import Event
from heliograph.events.record import EventBody, LedgerRow
from heliograph.ports import Commit, JournalRow, MessageRow, Result
from tests.simulation.letters import Letters
from tests.simulation.people import Sent
from tests.simulation.plans import EXIT_EVENTS, QUIET, ZONES

DAY = 86_400_000
MAX_BLOB = 256 * 1024
LATENESS = 3 * DAY
REQUIRED = {"offers"}
TAKEN = {"sent", "delivered"}
MAYBE = {"unknown", "bounced"}
MORNINGS = {"02:30", "03:00", "03:30"}
"""When a wait for 02:30 may end: where that hour is skipped, after the gap."""


class Broken(AssertionError):
    """A law does not hold."""


def law(holds: bool, text: str, *about: object) -> None:
    if not holds:
        raise Broken(f"{text}: {', '.join(map(repr, about))}")


class Watch:
    """``quiet``: whether the plan has quiet hours (the same ones in every version)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.position = 0
        self.received_at = 0
        self.quiet = quiet
        self.first: dict[str, int] = {}
        self.accepted: dict[str, int] = {}
        self.rows: dict[str, MessageRow] = {}
        self.words: dict[tuple[str, str], tuple[int, bool]] = {}
        self.exits: dict[tuple[str, str], int] = {}
        self.started: dict[str, tuple[str, int]] = {}
        self.ended: dict[str, str] = {}
        self.times_taken: Counter[str] = Counter()
        self.begun: dict[str, dict[str, tuple[int, str]]] = defaultdict(dict)
        self.recently_sent: list[str] = []
        self.facts: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self.arms: dict[str, str] = {}
        self.held_out: set[str] = set()
        self.asked: set[str] = set()
        self.imported: set[str] = set()
        self.zoned: set[str] = set()
        self.letters = Letters()

    # -- every commit --

    def committed(self, commit: Commit) -> None:
        self.letters.committed(commit)
        self._facts(commit)
        for message_id, row in commit.messages.items():
            self._message(self.rows.get(message_id), row)
            self.rows[message_id] = row
        self._log(commit)
        for row in commit.ledger.values():
            self._word(row.address, row.topic, row.at, row.given)
        for key, blob in commit.states.items():
            law(blob is None or len(blob) <= MAX_BLOB, "a state stays within its bound", key)

    def _log(self, commit: Commit) -> None:
        for position, record in commit.log:
            law(position == self.position + 1, "the log has no gap", position, self.position)
            law(record.received_at >= self.received_at, "the log is a clock", position)
            self.position, self.received_at = position, record.received_at
            if isinstance(record.body, EventBody) and record.id not in self.first:
                self.first[record.id] = position
                self._event(record.key, position, record.received_at, record.body.event)

    def _event(self, key: str, position: int, received_at: int, event: Event) -> None:
        if event.historical:
            self.imported.add(event.event_id)
        elif received_at - event.occurred_at <= LATENESS:
            self.exits[key, event.name] = position
        else:
            return
        if event.name == "Identified" and key.startswith("u:"):
            self.zoned.add(key)
        consent = event.context.get("consent", {}).get("categoryPreferences", {})
        for topic, given in consent.items():
            self._word(event.traits["email"], topic, event.occurred_at, given)

    def _word(self, address: str, topic: str, at: int, given: bool) -> None:
        """The later word stands, a withdrawal wins ties."""
        old = self.words.get((address, topic))
        if old is None or (at, not given) > (old[0], not old[1]):
            self.words[address, topic] = (at, given)

    def _facts(self, commit: Commit) -> None:
        for key, fact in commit.journal:
            self.facts[fact.kind] += 1
            run = fact.data.get("run_id", "")
            if broadcast_of(fact.data.get("journey", "")):
                continue  # two people may have one address: their books are apart
            if fact.kind == "run_started":
                law(run not in self.started, "a run starts once", run, fact.data)
                self.started[run] = (key, fact.position)
                self._started(key, fact)
            elif fact.kind == "run_ended":
                law(run not in self.ended, "a run ends once", run, fact.data)
                self.ended[run] = fact.data["reason"]
            elif fact.kind == "run_step" and fact.data["what"] == "split":
                law(run not in self.arms, "a run takes one arm", run, fact.data)
                self.arms[run] = fact.data["arm"]

    def _started(self, key: str, fact: JournalRow) -> None:
        law(fact.data["cause"] not in self.imported, "an import starts nothing", fact.data)
        if fact.data["arm"] != "treated":
            self.held_out.add(fact.data["run_id"])
        if fact.data["journey"] == "asked":
            law(fact.data["cause"] not in self.asked, "one call of the API is one run", fact.data)
            self.asked.add(fact.data["cause"])
        if fact.data["journey"] == "weekly" and key in self.zoned:
            self.checked["scheduled entries"] += 1
            at = local(key, fact.at)
            on_time = at.strftime("%a") == "Tue" and "10:00" <= at.strftime("%H:%M") <= "11:00"
            law(on_time, "a schedule keeps to the clocks of the person", key, at)

    def _message(self, old: MessageRow | None, row: MessageRow) -> None:
        if old is not None:
            law(old.key == row.key and old.created_at == row.created_at, "a decided message is decided once", row)
        else:
            self._decided(row)
        if row.status == "sending" and (old is None or old.sending_at != row.sending_at or old.status != "sending"):
            self.checked["commit points"] += 1
            self._may_go(row)
            if not row.key.startswith("u:t"):  # caps are those of a person
                self.begun[row.address][row.message_id] = (row.sending_at, row.topic or "")
        if row.status == "sent":
            self.recently_sent = [*self.recently_sent[-30:], row.message_id]

    def _decided(self, row: MessageRow) -> None:
        """The first that is seen of a message: its moment is that of the step before it."""
        law(row.transactional or row.run_id not in self.held_out, "who is held out is decided no mail", row)
        if row.journey == "arms" and row.template != "arm-end":
            law(self.arms.get(row.run_id) == row.template[-1], "mail is that of the arm", row)
        if row.key not in self.zoned:
            return
        at = local(row.key, row.created_at)
        if row.journey == "office":
            self.checked["windows"] += 1
            law(at.weekday() < 5 and 9 <= at.hour < 17, "a window of the day is kept", at, row)
        if row.journey == "morning":
            self.checked["mornings"] += 1
            law(at.strftime("%H:%M") in MORNINGS, "a wait ends by the clocks of the person", at, row)

    # -- the commit point --

    def _may_go(self, row: MessageRow) -> None:
        ended = self.ended.get(row.run_id)
        law(ended is None, "nothing is sent for a run that has ended", row, ended)
        letter = broadcast_of(row.journey)
        law(not letter or self.letters.runs[row.run_id] > 0, "nothing is sent for a broadcast run that has ended", row)
        self._not_exited(row)
        stops = ["!manual", "!bounce"] if row.transactional else ["!manual", "!bounce", "!complaint"]
        for stop in stops:
            law(self.words.get((row.address, stop), (0, True))[1], "nothing is sent to a suppressed address", stop, row)
        if not row.transactional:
            topic = row.topic or "marketing"
            given = self.words.get((row.address, topic), (0, topic not in REQUIRED))[1]
            law(given, "nothing is sent without consent", topic, row)
            at = local(f"u:{row.address}", row.sending_at)
            law(not self.quiet or not is_quiet(at), "quiet hours are kept", at, row)
        law(not row.not_after or row.sending_at < row.not_after, "nothing is sent too late", row)
        law(row.sending_at >= row.not_before, "nothing is sent too early", row)

    def _not_exited(self, row: MessageRow) -> None:
        """By our own books: the exit event came after the run began, on time, for the same key."""
        key, began = self.started.get(row.run_id, ("", 0))
        name = EXIT_EVENTS.get(row.journey)
        if name is None or key != row.key:
            return
        self.checked["exits"] += 1
        law(self.exits.get((key, name), 0) <= began, "nothing is sent after an exit", row)

    # -- what somebody was told --

    def answered(self, calls: Sequence[Sent], results: Sequence[Result], since: int) -> None:
        """``since``: the end of the log before these calls."""
        last = since
        for call, result in zip(calls, results, strict=True):
            name = call.arrival.message_id
            law(result.status in ("accepted", "duplicate"), "what is well-formed is taken", result)
            law(name in self.first, "what was answered with 200 is on disk", name)
            if name in self.accepted and self.received_at - self.accepted[name] < 2 * DAY:
                law(result.status == "duplicate", "what was taken once is known again", result)
            if self.first[name] > since:
                law(self.first[name] > last, "a batch is decided in its order", name)
                last = self.first[name]
            self.accepted.setdefault(name, self.received_at)

    def said(self, row: LedgerRow) -> None:
        """A change of the ledger was answered: it is on disk, or a later word stands."""
        at, given = self.words.get((row.address, row.topic), (0, not row.given))
        law((at, not given) >= (row.at, not row.given), "a word that was answered counts", row)

    def taken(self, message_id: str) -> None:
        """A receiver took it."""
        self.times_taken[message_id] += 1
        law(self.times_taken[message_id] == 1, "nothing is mailed twice", self.rows[message_id])
        self.checked["mails taken"] += 1


def local(key: str, at: int) -> datetime:
    """What the clocks of this person (``u:p12``, or ``u:`` and the address) show at ``at``."""
    number = int(key.partition("@")[0].removeprefix("u:p"))
    return datetime.fromtimestamp(at / 1000, ZoneInfo(ZONES[number % len(ZONES)]))


def is_quiet(at: datetime) -> bool:
    clock = at.strftime("%H:%M")
    return clock >= QUIET["from"] or clock < QUIET["to"]
