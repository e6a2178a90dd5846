"""The spool in files: what was awaited is there afterwards, in order, whatever ended the process."""

import asyncio
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.adapters.spool import FileSpool, SpoolLocked
from heliograph.adapters.spool.segment import frames
from heliograph.ports import Post, SpoolFull

MB = 1 << 20

WRITER = """
import asyncio, sys
from pathlib import Path
from heliograph.adapters.spool import FileSpool
from heliograph.ports import Post

async def client(spool, name):
    for number in range(1_000_000):
        await spool.append([Post("records", name.encode(), b"%d" % number)])
        print(name, number, flush=True)

async def main():
    spool = FileSpool(Path(sys.argv[1]), 1 << 30, segment_bytes=20_000)
    await asyncio.gather(*(client(spool, f"c{n}") for n in range(5)))

asyncio.run(main())
"""


def post(number: int, size: int = 0) -> Post:
    return Post("records", b"%d" % (number % 3), b"%d" % number + b"x" * size)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def values(spool: FileSpool) -> list[bytes]:
    return [one.value for one in spool.peek(1_000_000)]


async def test_first_in_first_out_over_segments_and_a_restart(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, MB, segment_bytes=1_000)
    for number in range(100):
        await spool.append([post(number, 90)])
    spool.drop(35)
    assert [one[:2] for one in values(spool)[:2]] == [b"35", b"36"]
    assert spool.waiting == 65
    spool.close()
    again = FileSpool(tmp_path, MB)
    numbers = [int(one.rstrip(b"x")) for one in values(again)]
    assert numbers == list(range(numbers[0], 100))
    assert 25 < numbers[0] <= 35  # a segment that was read in part begins anew
    again.close()


async def test_what_was_read_whole_leaves_no_file_behind(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, MB, segment_bytes=500)
    await asyncio.gather(*(spool.append([post(number, 50)]) for number in range(50)))
    spool.drop(50)
    assert (spool.waiting, spool.size) == (0, 0)
    await spool.append([post(7)])
    assert values(spool) == [b"7"]
    spool.drop(1)
    spool.close()
    assert files(tmp_path) == []


async def test_who_waits_together_shares_a_sync(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, MB)
    first = asyncio.ensure_future(spool.append([post(0)]))
    rest = [asyncio.ensure_future(spool.append([post(number)])) for number in range(1, 20)]
    assert spool.waiting == 20
    await first
    assert not any(one.done() for one in rest)
    await spool.settled()
    assert all(one.done() for one in rest)
    spool.close()


async def test_beyond_its_bound_nothing_of_a_call_is_kept(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, 1_000)
    await spool.append([post(1, 500)])
    with pytest.raises(SpoolFull, match="full"):
        await spool.append([post(2, 300), post(3, 300)])
    await spool.append([post(4, 100)])
    assert [one[:1] for one in values(spool)] == [b"1", b"4"]
    spool.close()


async def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, MB)
    with pytest.raises(SpoolLocked, match="--data"):
        FileSpool(tmp_path, MB)
    spool.close()
    FileSpool(tmp_path, MB).close()


def test_kill_9_loses_nothing_that_was_awaited_and_keeps_the_order(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2_000)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    acknowledged: dict[str, int] = {}
    for line in lines:
        if line.endswith("\n"):
            name, number = line.split()
            acknowledged[name] = int(number)
    spool = FileSpool(tmp_path, MB * 100)
    found: dict[str, list[int]] = {}
    for one in spool.peek(10_000_000):
        found.setdefault(one.key.decode(), []).append(int(one.value))
    spool.close()
    assert len(acknowledged) == 5
    for name, number in acknowledged.items():
        assert found[name] == list(range(len(found[name])))
        assert len(found[name]) >= number + 1


async def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path, MB)
    for number in range(10):
        await spool.append([post(number, 20)])
    spool.close()
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-5])
    again = FileSpool(tmp_path, MB)
    assert [one[:1] for one in values(again)] == [b"%d" % number for number in range(9)]
    await again.append([post(99)])
    assert values(again)[-1] == b"99"
    again.close()


DISK_FULL = """
import asyncio, resource, sys
from pathlib import Path
from heliograph.adapters.spool import FileSpool
from heliograph.ports import Post, SpoolFull

async def main():
    spool = FileSpool(Path(sys.argv[1]), 1 << 30)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    kept, refused = [], 0
    for number in range(30):
        try:
            await spool.append([Post("records", b"k", b"%d" % number + b"x" * 990)])
            kept.append(number)
        except SpoolFull:
            refused += 1
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await spool.append([Post("records", b"k", b"100")])
    found = [int(one.value.rstrip(b"x")) for one in spool.peek(1000)]
    assert refused == 1 and len(kept) == 9, kept
    assert found == [*kept, 100], found
    spool.drop(len(found))
    assert spool.waiting == 0
    spool.close()
    print("fine")

asyncio.run(main())
"""


def test_a_disk_that_refuses_is_said_and_leaves_the_spool_whole(tmp_path: Path) -> None:
    """The kernel refuses to let a file grow; what was kept before stays, and the next one goes into a new file."""
    done = subprocess.run([sys.executable, "-c", DISK_FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("fine"), done.stderr


@settings(deadline=None)
@given(st.lists(st.one_of(st.tuples(st.just("in"), st.integers(1, 4)), st.tuples(st.just("out"), st.integers(1, 9)),
                          st.tuples(st.just("restart"), st.just(0))), max_size=30))  # fmt: skip
def test_it_is_a_queue(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    """Law: what comes out is what went in, in order; after a restart it may begin with some that were dropped."""
    asyncio.run(_queue(tmp_path_factory.mktemp("spool"), steps))


async def _queue(folder: Path, steps: list[tuple[str, int]]) -> None:
    spool, model, next_one = FileSpool(folder, MB, segment_bytes=60), deque[int](), 0
    for what, count in steps:
        if what == "in":
            await spool.append([post(next_one + number) for number in range(count)])
            model.extend(range(next_one, next_one + count))
            next_one += count
        elif what == "out":
            count = min(count, len(model))
            spool.drop(count)
            for _ in range(count):
                model.popleft()
        else:
            spool.close()
            spool = FileSpool(folder, MB, segment_bytes=60)
            found = [int(one) for one in values(spool)]
            assert found == list(range(next_one - len(found), next_one))
            assert len(found) >= len(model)
            model = deque(found)
        assert [int(one) for one in values(spool)] == list(model)
        assert spool.waiting == len(model)
    spool.close()


async def test_what_the_disk_has_lost_since_is_told_kept_aside_and_holds_up_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = FileSpool(tmp_path, MB, segment_bytes=300)
    for number in range(40):
        await spool.append([post(number)])
    first, second = (tmp_path / f"{number:012d}.spool" for number in (1, 2))
    whole = spool.peek(1_000)
    held = [sum(1 for _ in frames(file, 0, 10_000)) for file in (first, second)]
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 0xFF
    second.write_bytes(data)
    found = []
    while posts := spool.peek(7):
        found += posts
        spool.drop(len(posts))
    lost = [one for one in whole if one not in found]
    assert lost and found == [one for one in whole if one not in lost], "in order, and only what was damaged is missing"
    assert lost == whole[held[0] + held[1] - len(lost) : held[0] + held[1]]
    assert not spool.waiting
    assert second.with_suffix(".damaged").read_bytes() == data
    said = capsys.readouterr()
    assert f"entries={len(lost)}" in said.out + said.err or f'"entries": {len(lost)}' in said.out + said.err
    await spool.append([post(99)])
    assert spool.peek(1) == [post(99)]
    spool.close()
