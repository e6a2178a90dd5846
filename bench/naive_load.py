"""Drives :mod:`bench.naive`."""

import asyncio
import os
import subprocess
import sys
import time

from bench import letters, traffic
from bench.mailing import Sent
from bench.processes import cpu_s, end, free_port, wait_for_port
from heliograph.simulate.client import Job, Pool

UNDER_WAY = 16


def naive(smtp_port: int, pem: str, count: int) -> Sent:
    port = free_port()
    environment = {**os.environ, "NAIVE_SMTP_PORT": str(smtp_port), "NAIVE_DKIM_PEM": pem}
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning", "bench.naive:app"]
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        asyncio.run(_drive(port, 20))
        cpu, started = cpu_s([process.pid]), time.monotonic()
        asyncio.run(_drive(port, count))
        return Sent(count, time.monotonic() - started, cpu_s([process.pid]) - cpu)
    finally:
        end(process)


async def _drive(port: int, count: int) -> None:
    pool = Pool(f"http://127.0.0.1:{port}", "", UNDER_WAY)
    await pool.open()
    now = asyncio.get_running_loop().time()
    for n in range(count):
        pool.submit(Job(now, 1, b"/event", traffic.encode(letters.context(n))))
    await pool.drain(300)
    pool.close()
    if pool.statuses != {200: count}:
        raise RuntimeError(f"the naive sender answered {pool.statuses}")
