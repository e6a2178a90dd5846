"""kill -9 of the whole family under load; from the new start to the first 250, and to serving again.

What the restart must not lose or send twice is shown by tests/integration; here only the time counts.
"""

import signal
import time
from pathlib import Path

from bench import kill_broadcast
from bench.figures import Report
from bench.load import Plan, known, loading
from bench.processes import end
from bench.server import Server
from bench.sink import receiver


def run(report: Report, folder: Path, quick: bool) -> None:
    under_load(report, folder, quick)
    kill_broadcast.run(report, folder / "broadcast", quick)


def under_load(report: Report, folder: Path, quick: bool) -> None:
    before_s, after_s, sends, buyers = (1.0, 2.0, 50, 100) if quick else (10.0, 8.0, 300, 5_000)
    with receiver(folder) as sink:
        server = Server(folder, sink.url)
        server.start()
        try:
            known(server.url, buyers)
            with loading(Plan(server.url, sends, 3 * sends, before_s + after_s, buyers=buyers)) as load:
                load.begin()
                time.sleep(before_s)
                server.stop(signal.SIGKILL)
                started = time.monotonic()
                server.start()
                ready = time.monotonic() - started
                time.sleep(after_s / 2)
                end(load.process)
        finally:
            server.stop()
        sink.stop()
    mails = sorted(at / 1e9 for _, at in sink.mails)
    first = next((at for at in mails if at > started), None)
    load_text = f"{sends} sends/s + {3 * sends} events/s, {sum(at < started for at in mails):,} mails before"
    report.add(
        "kill", "first 250 after the new start", None if first is None else first - started, "s", target="3",
        note=load_text,
    )  # fmt: skip
    report.add("kill", "ready with a mailer after the new start", ready, "s", processes=2)
