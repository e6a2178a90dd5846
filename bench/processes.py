"""Processes of a benchmark: started, watched through /proc, and ended by us."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
TOOLS = {"wrk": "wrk", "smtp-sink": "postfix", "smtp-source": "postfix", "openssl": "openssl"}
"""Programs of others, by the Debian package that has them."""


def tool(name: str) -> str | None:
    """The path of a program, also where Debian hides those of administrators."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def missing(*names: str) -> str:
    """Why something is not measured; empty when all of these programs are there."""
    lacking = sorted({TOOLS[name] for name in names if tool(name) is None})
    return f"apt-get install {' '.join(lacking)}" if lacking else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


def family(pid: int) -> list[int]:
    """This process and everything it started."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """CPU time of these processes so far, all threads, user and system; a tick is 10 ms."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def rss_bytes(pids: Sequence[int]) -> int:
    """Resident memory; pages that two of them share count twice."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, patience_s: float = 20.0) -> None:
    """End a process that leads a session of its own, and everything in it."""
    with contextlib.suppress(ProcessLookupError):
        if how is signal.SIGKILL:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def smtp_sink(concurrency: int = 400) -> Iterator[int]:
    """Postfix's receiver, which throws everything away, on a port of its own."""
    program, port = tool("smtp-sink"), free_port()
    assert program is not None, "ask missing() first"
    command = [program, "-m", str(concurrency), f"127.0.0.1:{port}", "1000"]
    if os.geteuid() == 0:
        command[1:1] = ["-u", "nobody"]
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield port
    finally:
        end(process)
