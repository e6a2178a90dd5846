"""What the store in RocksDB does when the process, the disk or the caller fails it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph.adapters.rocksdb import RocksStore, spell
from heliograph.adapters.rocksdb import options as rocksdb_options
from heliograph.adapters.rocksdb import store as rocksdb_store
from heliograph.adapters.rocksdb.database import Batch, Database
from heliograph.ports import Commit, StoreFailed, StoreFull, StoreLocked, StoreTooNew
from tests.contracts.samples import arrival, fact, message, request, requests, wake


def _numbered(n: int, size: int = 10) -> Commit:
    """A commit that touches every family in a way that shows whether all of it is there."""
    log = [(n * 10 + i, arrival(f"u:{i}", f"e{n}-{i}", n)) for i in range(size)]
    return Commit(
        log=log,
        states={f"u:{i}": b"%d" % n for i in range(size)},
        wakeups={"u:0": (n - 1, n)},
        messages={f"m{n}": message(f"m{n}", n)},
        members={("all", f"u:{n}"): n},
        journal=[("u:0", fact(n))],
        meta={"last": b"%d" % n},
    )


def _holds_exactly(store: RocksStore, n: int) -> None:
    assert store.states(["u:0", "u:9"]) == [b"%d" % n] * 2
    assert store.meta("last") == b"%d" % n
    assert store.last_position() == n * 10 + 9
    assert len(store.log(limit=10**6)) == n * 10
    assert store.due(10**9) == [(n, "u:0")]
    assert store.member_count("all") == n
    assert sum(1 for _ in store.unfinished_messages()) == n
    assert [row.at for row in store.journal("u:0", limit=10**6)] == list(range(n, 0, -1))
    assert [row.event_id for row in store.history("u:3")] == [f"e{i}-3" for i in range(1, n + 1)]


CHILD = """
import sys
from pathlib import Path
from heliograph.adapters.rocksdb import RocksStore
from tests.contracts.test_rocksdb_faults import _numbered

store = RocksStore(Path(sys.argv[1]))
for n in range(int(store.meta("last") or b"0") + 1, 10**9):
    store.commit(_numbered(n))
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


def test_after_kill_9_every_acknowledged_commit_is_there_and_none_in_half(tmp_path: Path) -> None:
    acknowledged = 0
    for life in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "data")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        killer = threading.Timer(0.02 + 0.05 * life, os.kill, (child.pid, signal.SIGKILL))
        killer.start()
        for line in child.stdout:
            acknowledged = int(line) if line.endswith("\n") else acknowledged
        child.wait()
        child.stdout.close()
        killer.join()
        store = RocksStore(tmp_path / "data")
        found = int(store.meta("last") or b"0")
        assert acknowledged <= found <= acknowledged + 1
        _holds_exactly(store, found)
        store.close()


def test_a_second_process_is_told_in_a_plain_sentence(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    with pytest.raises(StoreLocked, match=r"in use by another Heliograph process.*--data"):
        RocksStore(tmp_path)
    store.close()
    RocksStore(tmp_path).close()


def test_a_folder_of_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(rocksdb_store, "FORMAT", 2)
        RocksStore(tmp_path).close()
    with pytest.raises(StoreTooNew, match="format 2"):
        RocksStore(tmp_path)


def test_a_folder_with_families_of_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heliograph.adapters.rocksdb import options

    with monkeypatch.context() as newer:
        newer.setitem(options.WRITE_BUFFERS, "later", options.MB)
        RocksStore(tmp_path).close()
    with pytest.raises(StoreTooNew, match="newer version"):
        RocksStore(tmp_path)


def test_a_folder_from_before_a_family_was_there_opens_with_all_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        before = {name: size for name, size in rocksdb_options.WRITE_BUFFERS.items() if name != "requests"}
        older.setattr(rocksdb_options, "WRITE_BUFFERS", before)
        old = Database(tmp_path / "data")
        batch = Batch()
        batch.put(old.family("state"), spell.state("u:1"), b"blob")
        old.write(batch)
        old.close()
    with pytest.raises(StoreFailed, match="older version of Heliograph; start a server"):
        Database(tmp_path / "data", watching=tmp_path / "watcher")
    store = RocksStore(tmp_path / "data")
    assert (store.states(["u:1"]), list(store.requests())) == ([b"blob"], [])
    store.commit(requests(request("r1")))
    store.close()
    again = RocksStore(tmp_path / "data")
    assert list(again.requests()) == [request("r1")]
    again.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="file"):
        RocksStore(tmp_path / "file" / "data")


def test_a_failed_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RocksStore(tmp_path)
    store.commit(_numbered(1))

    def refuse(self: Database, batch: Batch) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as full:
        full.setattr(Database, "write", refuse)
        with pytest.raises(StoreFull):
            store.commit(_numbered(2))
    _holds_exactly(store, 1)
    store.commit(_numbered(2))
    _holds_exactly(store, 2)
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Twelve megabytes of tmpfs; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)):
        pytest.skip("cannot mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def _mount(*arguments: str) -> int:
    try:
        return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode
    except FileNotFoundError:
        return 1


def test_a_full_disk_refuses_whole_commits_serves_reads_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    store = RocksStore(small_disk / "data")
    done = 0
    with pytest.raises(StoreFull, match="full"):
        for n in range(1, 1000):
            store.commit(_with_ballast(n))
            done = n
    _holds_exactly(store, done)
    with pytest.raises(StoreFull):
        store.commit(_with_ballast(done + 1))
    _holds_exactly(store, done)
    assert _mount("-o", "remount,size=200m", str(small_disk)) == 0
    _commit_when_there_is_room(store, _numbered(done + 1))
    _holds_exactly(store, done + 1)
    store.close()
    store = RocksStore(small_disk / "data")
    _holds_exactly(store, done + 1)
    store.close()


def _with_ballast(n: int) -> Commit:
    commit = _numbered(n)
    commit.meta["ballast"] = os.urandom(400_000)
    return commit


def _commit_when_there_is_room(store: RocksStore, commit: Commit) -> None:
    """RocksDB looks for room every five seconds."""
    until = time.monotonic() + 30
    while True:
        try:
            return store.commit(commit)
        except StoreFull:
            assert time.monotonic() < until, "the store did not recover"
            time.sleep(0.2)


def test_the_interpreter_runs_on_while_a_commit_syncs(tmp_path: Path) -> None:
    """The next chunk is decided while this one syncs: only a call that gives up the interpreter lock allows it."""
    store = RocksStore(tmp_path)
    beats, stop = [], threading.Event()

    def beat() -> None:
        while not stop.is_set():
            beats.append(time.perf_counter())
            time.sleep(0.0001)

    heart = threading.Thread(target=beat)
    heart.start()
    inside = 0
    for _ in range(200):
        store.commit(Commit(meta={"n": bytes(1_000_000)}), sync=False)
        begun = time.perf_counter()
        store._db.sync()
        inside += sum(begun < at < time.perf_counter() for at in beats[-20:])
        if inside > 10:
            break
    stop.set()
    heart.join()
    store.close()
    assert inside > 10


def test_only_a_synced_commit_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, synced = RocksStore(tmp_path), []
    monkeypatch.setattr(store._db, "sync", lambda: synced.append(1))
    store.commit(Commit(log=[(1, wake("u:1", 1))]), sync=False)
    assert synced == []
    store.commit(Commit(log=[(2, wake("u:1", 1))]))
    assert synced == [1]
    store.close()
