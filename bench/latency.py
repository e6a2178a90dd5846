"""From the instant an event was due to the instant a receiver answered 250, durable, open loop.

Four kinds of process on one machine: the engine, one mailer, the receiver and the load.  Orders come as single
requests; the other events are shop traffic in batches of 100; both are Poisson processes.  What is counted is each
order's confirmation.  One clock for all: CLOCK_MONOTONIC.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from bench import traffic
from bench.figures import Report, amount
from bench.load import Outcome, Plan, known, loading
from bench.server import Server, serving
from bench.sink import receiver

PEERS = "Braze promises 60 s, Dittofeed polls at 120 s"
BOUND_MS = 25.0
"""The target for the 99th of a hundred."""
SETTLE_S = 1.5


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
        self.processes = len(server.family)
        self.busy = (cpu[1] - cpu[0]) / self.seconds
        """Cores that we kept busy."""
        events = plan.seconds * (plan.sends + plan.others)
        self.cpu_us = (cpu[1] - cpu[0]) / events * 1e6
        self.latencies: list[float] = []
        self.lost = 0

    def match(self, mails: Iterable[tuple[str, int]]) -> None:
        """Orders of one buyer are seconds apart, so their confirmations come in order."""
        arrived: dict[str, list[int]] = defaultdict(list)
        for to, at in mails:
            arrived[to].append(at)
        plan = self.plan
        for n, due in enumerate(self.outcome.due_ns, plan.first):
            turn, times = n // plan.buyers, arrived.get(traffic.address(n % plan.buyers), [])
            if turn < len(times):
                self.latencies.append((times[turn] - due) / 1e6)
            else:
                self.lost += 1
        self.latencies.sort()

    @property
    def name(self) -> str:
        return f"{amount(self.plan.sends)} sends/s + {amount(self.plan.others)} events/s"

    @property
    def p99(self) -> float:
        return percentile(self.latencies, 0.99) if not self.lost else float("inf")

    def say(self, report: Report, targets: tuple[str, str, str] = ("", "", "")) -> None:
        late, out = self.outcome.late_ms, self.outcome
        note = f"{len(self.latencies)} mails, {self.lost} missing after {SETTLE_S} s; we kept {self.busy:.2f} cores busy, "
        note += f"the load {out.cpu_s / self.seconds:.2f}; its requests left late by {late:.1f} ms (p99)"
        if set(out.statuses) - {"200"}:
            note += f"; statuses {out.statuses}"
        for share, target, more in zip((0.5, 0.99, 0.999), targets, (note, "", ""), strict=True):
            value = percentile(self.latencies, share)
            report.add(
                "latency", f"event to 250, {self.name}, p{share * 100:g}", None if value == float("inf") else value, "ms",
                target=target, beside=PEERS, cpu_us=self.cpu_us, processes=self.processes, note=more,
            )  # fmt: skip
        answered = percentile(out.answered_ms, 0.99)
        report.add("latency", f"event to 200, {self.name}, p99", answered, "ms", note="all requests")


def trials(folder: Path, rates: list[tuple[float, float]], seconds: float, buyers: int) -> list[Trial]:
    """One server, one rate after another."""
    done: list[Trial] = []
    with receiver(folder) as sink:
        with serving(folder, sink.url) as server:
            known(server.url, buyers)
            first = 0
            for seed, (sends, others) in enumerate(rates, 1):
                plan = Plan(server.url, sends, others, seconds, seed=seed * 10, buyers=buyers, first=first)
                trial = Trial(server, plan)
                first += len(trial.outcome.due_ns)
                done.append(trial)
        sink.stop()
        for trial in done:
            trial.match(sink.mails)
    return done


def run(report: Report, folder: Path, quick: bool) -> None:
    if quick:
        (trial,) = trials(folder, [(50, 500)], 1.0, 100)
        trial.say(report)
        return
    shares = (0.6, 0.5, 0.4, 0.3, 0.2)
    rates = [(20, 200), (100, 1_000), (1_000, 10_000), *((1_000 * share, 10_000 * share) for share in shares)]
    _warm_up, small, full, *lower = trials(folder, [(sends, others) for sends, others in rates], 15.0, 10_000)
    small.say(report)
    full.say(report, ("5 ms", "25 ms", "100 ms"))
    if full.p99 < BOUND_MS:
        return
    kept = next((trial for trial in lower if trial.p99 < BOUND_MS), None)
    for trial in [kept] if kept else lower:
        trial.say(report)
    report.add(
        "latency", f"highest rate kept with p99 < {BOUND_MS:g} ms", kept.plan.sends if kept else None, "sends/s",
        target="1,000", note="+ 10 other events for each send; tried " + ", ".join(amount(1000 * s) for s in shares),
    )  # fmt: skip
