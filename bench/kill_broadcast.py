"""kill -9 of the whole family, ten times in the middle of a broadcast to 100,000 people: who got it twice, who never.

The receiver's account is compared with the progress that the API tells.  ``HELIOGRAPH_TEST_SEED`` repeats the moments.
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.broadcast import BROADCAST, ENDED, LOOK_S, PATIENCE_S, Api, bring_in, project
from bench.figures import Report
from bench.mailing import CONNECTIONS
from bench.server import Server
from bench.sink import receiver

PEOPLE, KILLS = 100_000, 10
QUICK_PEOPLE, QUICK_KILLS = 1_000, 1


def run(report: Report, folder: Path, quick: bool) -> None:
    people, kills = (QUICK_PEOPLE, QUICK_KILLS) if quick else (PEOPLE, KILLS)
    seed = int(os.environ.get("HELIOGRAPH_TEST_SEED", "0")) or random.randrange(10**6)
    chance = random.Random(seed)
    folder.mkdir()
    with receiver(folder) as sink:
        server = Server(folder, sink.url, project(folder, "none"))
        server.start()
        try:
            bring_in(server, people)
            Api(server.port).call("POST", "/api/broadcasts", BROADCAST)
            starts = [killed(server, people * (n + chance.random()) / (kills + 1)) for n in range(kills)]
            progress = reached(server, people + 1)["progress"]
        finally:
            server.stop()
        sink.stop()
    say(report, f"{people:,} people, {kills} kills", people, kills, progress, Counter(name for name, _ in sink.mails))
    report.add("kill", "the slowest new start in a broadcast", max(starts), "s", note=f"seed {seed}")


def killed(server: Server, sent: float) -> float:
    """When so many were sent; seconds until a mailer is there again."""
    reached(server, sent)
    server.stop(signal.SIGKILL)
    started = time.monotonic()
    server.start()
    return time.monotonic() - started


def reached(server: Server, sent: float) -> dict[str, Any]:
    """The broadcast, once so many mails are sent or it has ended."""
    api, deadline = Api(server.port), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        state: dict[str, Any] = api.call("GET", f"/api/broadcasts/{BROADCAST['id']}")
        if state["status"] in ENDED or state["progress"]["messages"].get("sent", 0) >= sent:
            return state
        time.sleep(LOOK_S / 5)
    raise RuntimeError(f"the broadcast does not get on: {state}")


def say(report: Report, what: str, people: int, kills: int, progress: dict[str, Any], got: Counter[str]) -> None:
    messages = Counter(progress["messages"])
    twice = sum(count - 1 for count in got.values())
    out = people - messages["sent"] - messages["unknown"]
    told = f"progress: {dict(messages)}; the receiver has {len(got):,} different ones"
    report.add("kill", f"broadcast to {what}: received twice", twice, "mails", target="0", note=told)
    report.add("kill", f"broadcast to {what}: left out", out, "people", target="0")
    report.add(
        "kill", f"broadcast to {what}: unknown", messages["unknown"], "mails",
        target=f"at most {2 * CONNECTIONS * kills} (twice the open connections a kill)",
    )  # fmt: skip
    if not messages["sent"] <= len(got) <= messages["sent"] + messages["unknown"]:
        raise RuntimeError(f"the progress is not what the receiver has: {told}")
