"""A share of a core for each of some processes, by Linux's control groups: so that many of them may be compared with
one where together they would want more cores than there are.  Needs root, as containers do."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 20_000


class NoQuota(Exception):
    """Why this machine gives no shares."""


@contextlib.contextmanager
def held(pids: Sequence[int], cores: float) -> Iterator[None]:
    """Each of ``pids``, with all its threads, gets ``cores`` at most."""
    old = (ROOT / "cpu").is_dir()
    home = ROOT / "cpu" if old else ROOT
    groups = {pid: home / f"heliograph-bench-{pid}" for pid in pids}
    try:
        try:
            for pid, group in groups.items():
                group.mkdir()
                _limit(group, int(cores * PERIOD_US), old)
                (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise NoQuota(str(error)) from error
        yield
    finally:
        for pid, group in groups.items():
            with contextlib.suppress(OSError):  # it is over, or was never there
                (home / "cgroup.procs").write_text(str(pid))
                group.rmdir()


def _limit(group: Path, quota_us: int, old: bool) -> None:
    if old:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    else:
        (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
