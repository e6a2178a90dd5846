"""This machine: the data folder, open files, the event loop, the clock."""

import ctypes
import importlib
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from heliograph.config import Settings
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient

LEAST_FREE: Final = 500 * 1024 * 1024
"""Below this a compaction may find the disk full, and then nothing is taken any more."""
LITTLE_FREE: Final = 5 * 1024**3
SYNCS: Final = 20
SLOW_SYNC_MS: Final = 10.0
"""Every 200 waits for one sync: p99 of 25 ms is out of reach beyond this."""
FILES: Final = 1024
"""Connections that the door holds (its backlog), at least."""
STORE_FILES: Final = 1024
"""What RocksDB may hold open with a few hundred million entries."""
GOOD_FILES: Final = 65_536
UNSYNCHRONISED: Final = 5
"""TIME_ERROR of adjtimex(2)."""
TIMEX_BYTES: Final = 512
"""More than ``struct timex`` takes anywhere."""


async def data_folder(patient: Patient) -> list[Finding]:
    """Whether it can be written, how much is free, and how long a sync takes."""
    folder = patient.data
    if not folder.is_dir():
        if not patient.mend:
            return [
                skipped(
                    "data.writable",
                    f"there is no {folder} yet",
                    "`serve` makes it, or --mend; else name another with --data",
                )
            ]
        folder.mkdir(parents=True, exist_ok=True)
    try:
        took = _syncs(folder)
    except OSError as error:
        return [fail("data.writable", f"{folder}: {error.strerror}", f"let this user write there (uid {os.getuid()})")]
    return [ok("data.writable", str(folder.absolute())), _space(folder), _sync(took)]


def _syncs(folder: Path) -> list[float]:
    """Milliseconds of each write of 4 KB with its sync."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begun) * 1000)
    return took


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    seen = f"{free / 1024**3:.1f} GB free"
    if free >= LITTLE_FREE:
        return ok("data.space", seen)
    return (fail if free < LEAST_FREE else warn)("data.space", seen, "make room, or move the data folder (--data)")


def _sync(took: list[float]) -> Finding:
    middle, worst = median(took), max(took)
    seen = f"a sync takes {middle:.2f} ms (median of {len(took)}, at most {worst:.1f})"
    if middle <= SLOW_SYNC_MS:
        return ok("data.sync", seen)
    return warn(
        "data.sync", seen, "every 200 waits for one: use a local SSD with a write cache that survives power loss"
    )


async def open_files(patient: Patient) -> list[Finding]:
    """The limit on file descriptors against the connections that the settings allow."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = FILES + STORE_FILES + (0 if patient.settings is None else _connections(patient.settings))
    seen = f"{allowed:,} open files are allowed, {needed:,} may be needed"
    if allowed < needed:
        return [fail("limits.files", seen, f"LimitNOFILE={GOOD_FILES} in the unit, or ulimit -n {GOOD_FILES}")]
    return [ok("limits.files", seen)]


def _connections(settings: Settings) -> int:
    """Of one mailer: each has a limit of its own."""
    relays = sum(relay.connections for relay in settings.relay.values())
    return relays + max(settings.smtp.connections, settings.direct.connections if settings.smtp.url == "mx:" else 0)


async def event_loop(patient: Patient) -> list[Finding]:
    """uvloop is there."""
    try:
        version = importlib.import_module("uvloop").__version__
    except ImportError:
        return [
            fail("machine.uvloop", "uvloop cannot be loaded", "install the package as a whole: pip install heliograph")
        ]
    return [ok("machine.uvloop", f"uvloop {version}, Python {sys.version.split()[0]}")]


async def time_service(patient: Patient) -> list[Finding]:
    """Whether the kernel says that something keeps our clock (adjtimex(2))."""
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        answer = -1
    if answer < 0:
        return [skipped("clock.kept", "this system does not say whether its clock is kept")]
    if answer == UNSYNCHRONISED:
        return [
            warn(
                "clock.kept",
                "nothing keeps this machine's clock",
                "run chrony or systemd-timesyncd here, or on the host of this container",
            )
        ]
    return [ok("clock.kept", "the clock is kept by a time service")]
