"""The brain alone: ``step`` over events that touch a few of 1,000 segments and 100 journeys, all live.

An event here changes the state of some six segments (five of them ask for any event of its name), and is looked at for
the entries and exits of a hundred journeys.  ``python -m bench.decide --profile calm`` (or ``busy``) shows where the
time goes.
"""

import argparse
import cProfile
import itertools
import pstats
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bench import plans
from bench.figures import Report, amount
from bench.interpreter import as_engine
from heliograph import decide
from heliograph.decide.effects import Hop
from heliograph.events.record import Record

PORTION = 500
"""Events made, then decided: the runtime has just decoded those that it decides, too."""


class Cost(msgspec.Struct, frozen=True):
    """CPU us for each event.  ``whole``: decode the state, step, encode it."""

    step: float
    whole: float
    decode: float
    encode: float
    effects: float
    blob_bytes: float


class People:
    """States by key, and what follows from each record."""

    def __init__(self, plan: decide.Plan) -> None:
        self.plan = plan
        self.states: dict[str, decide.State] = {}
        self.blobs: dict[str, bytes] = {}
        self.effects = 0

    def play(self, records: list[Record]) -> None:
        """States at hand, as the runtime has those of busy people."""
        states, plan = self.states, self.plan
        for record in records:
            key = record.key
            states[key], found = decide.step(states.get(key) or decide.new_state(key), record, plan)
            self.effects += len(found)
            self.play([effect.record for effect in found if type(effect) is Hop])

    def play_from_blobs(self, records: list[Record]) -> None:
        blobs, plan = self.blobs, self.plan
        for record in records:
            state, _found = decide.step(decide.decode_state(blobs[record.key]), record, plan)
            blobs[record.key] = decide.encode_state(state)

    def write(self) -> None:
        self.blobs = {key: decide.encode_state(state) for key, state in self.states.items()}

    def read(self) -> None:
        self.states = {key: decide.decode_state(blob) for key, blob in self.blobs.items()}


def cost(plan: decide.Plan, count: int, people: int, habits: int) -> Cost:
    """The first third warms up: people have a past when it counts."""
    records = plans.records(count, people, plan, habits=habits)
    third = (count - people) // 3
    here = People(plan)
    here.play(list(itertools.islice(records, count - 2 * third)))
    here.effects = 0
    with as_engine():
        step = sum(cpu_us(here.play, portion) for portion in portions(records, third)) / third
        encode = cpu_us(lambda _: here.write(), []) / len(here.states)
        whole = sum(cpu_us(here.play_from_blobs, portion) for portion in portions(records, third)) / third
        decode = cpu_us(lambda _: here.read(), []) / len(here.states)
    size = sum(map(len, here.blobs.values())) / len(here.blobs)
    return Cost(step=step, whole=whole, decode=decode, encode=encode, effects=here.effects / third, blob_bytes=size)


def portions(records: Iterator[Record], count: int) -> Iterator[list[Record]]:
    while count > 0 and (portion := list(itertools.islice(records, min(count, PORTION)))):
        yield portion
        count -= len(portion)


def cpu_us(work: Callable[[list[Record]], None], records: list[Record]) -> float:
    started = time.thread_time()
    work(records)
    return (time.thread_time() - started) * 1e6


MOODS = {
    "calm: most events turn no membership": (True, 5),
    "busy: each event turns some": (False, 600),
}
"""(long windows, how many different things one person does)"""


def run(report: Report, folder: Path, quick: bool) -> None:
    segments, journeys, count, people = (100, 10, 1_000, 50) if quick else (1_000, 100, 60_000, 1_000)
    live = f"{segments:,} segments + {journeys} journeys"
    for mood, (calm, habits) in MOODS.items():
        costs = []
        for idle in (0, 10 * segments):
            started = time.perf_counter()
            plan = decide.compile_plan(plans.document(segments, journeys, idle, calm=calm), 1)
            compiled = time.perf_counter() - started
            ours = cost(plan, count, people, habits)
            costs.append(ours.step)
            more = f" + {idle:,} out of reach" if idle else ""
            report.add(
                "decide", f"step alone, {live}{more}; {mood}", 1e6 / ours.step, "events/s a core", target="60,000",
                beside=f"with the state read and written {amount(1e6 / ours.whole)}/s at {amount(ours.whole)} us "
                f"(decode {amount(ours.decode)}, encode {amount(ours.encode)})",
                cpu_us=ours.step, processes=1,
                note=f"{ours.effects:.1f} effects an event; a state of {amount(ours.blob_bytes)} bytes; "
                f"the plan compiled in {compiled:.1f} s",
            )  # fmt: skip
        report.add("decide", "cost when 10x more segments are defined", costs[1] / costs[0], "ratio", target="1")


def profile(mood: str) -> None:
    calm, habits = MOODS[mood]
    plan = decide.compile_plan(plans.document(1_000, 100, calm=calm), 1)
    records = plans.records(40_000, 1_000, plan, habits=habits)
    here, profiler = People(plan), cProfile.Profile()
    here.play(list(itertools.islice(records, 20_000)))
    with as_engine():
        portion = list(records)
        profiler.runcall(here.play, portion)
    print(f"{len(portion):,} events, {mood}; cProfile makes small functions look dearer than they are")
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", required=True, choices=[mood.partition(":")[0] for mood in MOODS])
    wanted = parser.parse_args().profile
    profile(next(mood for mood in MOODS if mood.startswith(wanted)))
