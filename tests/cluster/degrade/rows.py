"""What is claimed of each part's absence.  Each row is asserted by ``test_degrade.py``, on real processes and servers,
and becomes a line of ``docs/reference/when-something-is-away.md``.
"""

from typing import Final, Literal

import msgspec

How = Literal["killed", "paused", "slow"]
LOG, SPOOL, BUSY = "200 log", "200 spool", "503"
"""An answer to ``/v1/batch``: its status, and what ``Heliograph-Durable`` says."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """``part``: what is taken away (a name of :class:`.machines.Machines`), ``title``: its name for people.

    ``how``: kill -9; SIGSTOP until it is brought back; or SIGSTOP for three quarters of the time.  ``events``: how
    calls with events are answered, once the absence was noticed; ``noticing``: and until then, besides.
    ``within_s``: no answer takes longer.  ``reads``, ``links``: status of ``GET /api/messages`` and of a POST to an
    unsubscribe link.  ``mail``: whether what is offered meanwhile is mailed meanwhile; ``status``: of the
    messages that wait, when they are decided already.  ``told``: who says so on
    ``/readyz``, and under which name; ``idle``: who answers 503 there, because there is nothing left that it could do;
    all others stay at 200.  ``back_s``: within so long after its return all that was offered is mailed and ``/readyz``
    is clean.  ``means``, ``bound``: for the page.
    """

    part: str
    title: str
    how: How
    events: tuple[str, ...] = (LOG,)
    noticing: tuple[str, ...] = ()
    within_s: float = 5.0
    reads: int = 200
    links: int = 200
    mail: Literal["goes", "waits"] = "goes"
    status: str = ""
    told: tuple[tuple[str, str], ...] = ()
    idle: tuple[str, ...] = ()
    back_s: float = 60.0
    means: str
    bound: str
    spool_mb: int = 1024

    @property
    def name(self) -> str:
        full = "-full" if BUSY in self.events else ""
        return f"{self.part}-{self.how}{full}"


ROWS: Final = (
    Row(
        part="kafka", title="Kafka", how="killed",
        events=(SPOOL,), noticing=(LOG,), within_s=5, mail="waits",
        told=(("collect", "kafka"), ("deliver", "delivery")),
        means="Events are kept on the collector's disk, synced, in order. What was decided before is mailed; an "
        "unsubscribe is in force at once, its person's journeys hear of it later.",
        bound="1 s until calls turn to the spool; `kafka.spool_mb` (1024)",
    ),
    Row(
        part="kafka", title="Kafka, and the spool is full", how="killed",
        events=(BUSY,), noticing=(LOG, SPOOL), mail="waits", told=(("collect", "kafka"),), spool_mb=1,
        means="Nothing that was answered 200 is given up for what comes now; clients are told to try again, and when.",
        bound="`Retry-After: 5`",
    ),
    Row(
        part="kafka", title="Kafka", how="slow",
        events=(LOG, SPOOL), within_s=5,
        means="Calls that wait longer than a second for Kafka are answered from the spool.",
        bound="1 s a call",
    ),
    Row(
        part="postgres", title="PostgreSQL", how="killed",
        reads=503, links=503, mail="waits", told=(("collect", "postgres"), ("deliver", "postgres")),
        idle=("deliver",),
        means="Events are taken and decided. No mail passes its commit point, because nobody can look up consent "
        "there; no link ever says done when it is not.",
        bound="what Kafka keeps of `effects` (P7D); `postgres.timeout` (PT5S) until it is noticed",
    ),
    Row(
        part="postgres", title="PostgreSQL", how="slow",
        means="Everything works, as slowly as it answers; events wait for it 0.1 s at most (for the words of consent "
        "of an address).",
        bound="`postgres.timeout`, then as if away",
    ),
    Row(
        part="redis", title="Redis", how="killed",
        told=(("deliver", "redis"),),
        means="Profiles are read from PostgreSQL, which are never older. Written rates: each worker keeps to its share "
        "of them, after 11 s and one unit of the rate in which it sends nothing under that rate.",
        bound="a worker's share is rate / workers; a day's limit waits for Redis",
    ),
    Row(
        part="redis", title="Redis", how="slow",
        means="As away, whenever an answer takes longer than its time; never a mail more than written.",
        bound="`redis.timeout` (PT0.25S) a call, then none for a second",
    ),
    Row(
        part="brain", title="The brain", how="killed",
        mail="waits", told=(("collect", "decisions"),),
        means="Events are taken; decided and mailed when it is back, in order. Mail that was decided before goes.",
        bound="what Kafka keeps of `records` (P7D); what has gone stale meanwhile is not sent (`freshness`)",
    ),
    Row(
        part="brain", title="The brain", how="slow",
        means="Mail leaves as much later.",
        bound="told after 10 s of delay (`decisions`)",
    ),
    Row(
        part="worker", title="The only worker", how="killed",
        mail="waits", told=(("collect", "decisions"),),
        means="Events are taken and decided. Another worker, or the next one, goes on where the offset says.",
        bound="at most 2 mails a connection `unknown`; others take over within `postgres.lease` (PT15S)",
    ),
    Row(
        part="relay", title="Mail relay", how="killed",
        mail="waits", status="queued",
        means="Messages stay queued; `heliograph delivery` says that the relay is down.",
        bound="tried again after 1 s, doubling to a minute; 32 attempts of a message, a day; its `freshness`",
    ),
    Row(
        part="relay", title="Mail relay", how="slow",
        means="Mail leaves as fast as it takes it; other relays and receivers do not wait for it.",
        bound="twice the connections under way",
    ),
    Row(
        part="facts", title="ClickHouse", how="killed",
        means="Nobody upstream notices. The loader keeps one helping and waits.",
        bound="what Kafka keeps of `effects` (P7D); looked for after 0.5 s, doubling to 30 s",
    ),
    Row(
        part="facts", title="ClickHouse", how="slow",
        means="Tables are as much later.",
        bound="as away",
    ),
    Row(
        part="taskmanager", title="The TaskManager of Flink that decides", how="killed",
        means="The other TaskManager goes on from the last checkpoint, and says again what was said since; nobody "
        "hears it twice.",
        bound="Flink's `heartbeat.timeout` (20 s here), and a start of the job; beyond 10 s of delay it is told "
        "(`decisions`)",
    ),
    Row(
        part="taskmanager", title="The TaskManager of Flink that decides", how="paused",
        told=(("collect", "decisions"),),
        means="As if it were dead. When it goes on, what it still says is known already, or is the same.",
        bound="the same",
    ),
)  # fmt: skip
