"""From the instant an event was due to the instant a receiver answered 250, durable, open loop.

Four kinds of process on one machine: the engine, one mailer, the receiver and the load.  Orders come as single
requests; the other events are shop traffic in batches of 100; both are Poisson processes.  What is counted is each
order's confirmation.  One clock for all: CLOCK_MONOTONIC.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from bench.figures import Report, amount
from bench.load import Outcome, Plan, known, loading
from bench.server import Server, serving
from bench.sink import receiver

PEERS = "Braze promises 60 s, Dittofeed polls at 120 s"
BOUND_MS = 25.0
"""The target for the 99th of a hundred."""
SETTLE_S = 1.5
SECONDS, BUYERS, ATTEMPTS = 15.0, 10_000, 4


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


class Trial:
    """One rate for some seconds on a running server."""

    def __init__(self, server: Server, plan: Plan) -> None:
        self.plan = plan
        with loading(plan) as load:
            cpu, started = [server.cpu_s(), 0.0], time.monotonic()
            load.begin()
            self.outcome: Outcome = load.outcome()
            self.seconds = time.monotonic() - started
            time.sleep(SETTLE_S)
            cpu[1] = server.cpu_s()
            self.ended_ns = time.monotonic_ns()
        self.processes = len(server.family)
        self.busy = (cpu[1] - cpu[0]) / self.seconds
        """Cores that we kept busy."""
        events = plan.seconds * (plan.sends + plan.others)
        self.cpu_us = (cpu[1] - cpu[0]) / events * 1e6
        self.latencies: list[float] = []
        self.lost = 0

    def match(self, mails: Iterable[tuple[str, int]]) -> None:
        """The confirmation's subject ends with the order's id.  What is missing counts as if it came at the end: less
        than the truth, and far beyond any target."""
        arrived = {subject.rpartition(" ")[2]: at for subject, at in mails}
        for order, due in zip(self.outcome.orders, self.outcome.due_ns, strict=True):
            self.lost += order not in arrived
            self.latencies.append((arrived.get(order, self.ended_ns) - due) / 1e6)
        self.latencies.sort()

    @property
    def name(self) -> str:
        return f"{amount(self.plan.sends)} sends/s + {amount(self.plan.others)} events/s"

    @property
    def p99(self) -> float:
        return percentile(self.latencies, 0.99) if not self.lost else float("inf")

    def say(self, report: Report, targets: tuple[str, str, str] = ("", "", "")) -> None:
        late, out = self.outcome.late_ms, self.outcome
        note = (
            f"{len(self.latencies)} mails due, {self.lost} still missing at the end; we kept {self.busy:.2f} cores busy"
        )
        note += f", the load {out.cpu_s / self.seconds:.2f}; its requests left {late:.1f} ms late (p99)"
        if set(out.statuses) - {"200"}:
            note += f"; statuses {out.statuses}"
        for share, target, more in zip((0.5, 0.99, 0.999), targets, (note, "", ""), strict=True):
            report.add(
                "latency", f"event to 250, {self.name}, p{share * 100:g}", percentile(self.latencies, share), "ms",
                target=target, beside=PEERS, cpu_us=None if self.lost else self.cpu_us,
                processes=self.processes, note=more,
            )  # fmt: skip
        answered = percentile(out.answered_ms, 0.99)
        report.add("latency", f"event to 200, {self.name}, p99", answered, "ms", note="all requests")


def trial(folder: Path, sends: float, others: float, seconds: float, buyers: int) -> Trial:
    """On a server of its own, warmed up by making the buyers known and a little of the same traffic."""
    folder.mkdir()
    with receiver(folder) as sink:
        with serving(folder, sink.url) as server:
            known(server.url, buyers)
            Trial(server, Plan(server.url, min(sends, 50), min(others, 500), min(seconds, 2), seed=99, buyers=buyers))
            one = Trial(server, Plan(server.url, sends, others, seconds, seed=round(sends), buyers=buyers))
        sink.stop()
        one.match(sink.mails)
    return one


def run(report: Report, folder: Path, quick: bool) -> None:
    if quick:
        trial(folder / "quick", 50, 500, 1.0, 100).say(report)
        return
    trial(folder / "small", 100, 1_000, SECONDS, BUYERS).say(report)
    full = trial(folder / "full", 1_000, 10_000, SECONDS, BUYERS)
    full.say(report, ("5 ms", "25 ms", "100 ms"))
    if full.p99 >= BOUND_MS:
        highest(report, folder)


def highest(report: Report, folder: Path) -> None:
    """Halve the interval between a rate that is kept and one that is not."""
    low, high, kept = 0.0, 1_000.0, None
    for attempt in range(ATTEMPTS):
        sends = round((low + high) / 2, -1)
        one = trial(folder / f"{attempt}", sends, 10 * sends, SECONDS, BUYERS)
        if one.p99 < BOUND_MS:
            low, kept = sends, one
        else:
            high = sends
    if kept is not None:
        kept.say(report)
    report.add(
        "latency", f"highest rate kept with p99 < {BOUND_MS:g} ms", kept.plan.sends if kept else 0, "sends/s",
        target="1,000", note=f"+ 10 other events for each send; not kept at {high:g}",
    )  # fmt: skip
