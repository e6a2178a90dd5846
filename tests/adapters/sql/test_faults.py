"""What the store in PostgreSQL does when a process, the server or the line between them fails it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heliograph.adapters.sql import PostgresStore, migrating
from heliograph.ports import Commit, Fence, Fenced, JournalRow, Relayed, StoreAway, StoreFull, StoreStale
from heliograph.ports.stream import EFFECTS
from tests import postgres
from tests.contracts.samples import arrival, fact, message

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 1.0

pytestmark = pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not() or "none")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Cluster]:
    """One that may be stopped."""
    server = postgres.Cluster()
    yield server
    server.close()


@pytest.fixture
def url(server: postgres.Cluster) -> str:
    owner = server.database()
    migrating.upgrade(owner)
    return owner.replace("owner@", "app@")


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(url, timeout_s=TIMEOUT_S, pool=2)
    yield store
    store.close()


@pytest.fixture
def patient(url: str) -> Iterator[PostgresStore]:
    """For who waits for nobody: a machine that is busy is not away."""
    store = PostgresStore(url, timeout_s=postgres.PATIENCE_S, pool=2)
    yield store
    store.close()


def numbered(n: int, size: int = 10) -> Commit:
    """Commit ``n`` of a writer that reads before it writes: it fits behind ``n - 1`` alone, and shows whether all of it
    is there."""
    return Commit(
        log=[(n, arrival(f"u:{i}", f"e{n}-{i}", n)) for i in range(size)],
        states={f"u:{i}": b"%d" % n for i in range(size)},
        messages={"tick": message("tick", 1, rev=n)},
        bases={"tick": n - 1 if n > 1 else -1},
        journal=[("u:0", fact(n))],
        members={("all", f"u:{n}"): n},
        offsets={(EFFECTS, 0): n},
        relay=[Relayed(f"r{n}", "records", b"", b"%d" % n)],
    )


def reached(store: PostgresStore) -> int:
    row = store.message("tick")
    return 0 if row is None else row.rev


def holds_exactly(store: PostgresStore, n: int) -> None:
    assert reached(store) == n
    assert store.states(["u:0", "u:9"]) == [b"%d" % n] * 2
    assert [row.at for row in store.journal("u:0", limit=10**6)] == list(range(n, 0, -1))
    assert [event.event_id for event in store.history("u:3")] == [f"e{i}-3" for i in range(1, n + 1)]
    assert store.member_count("all") == n == len(store.members("all", limit=10**6)[0])
    assert [one.value for _, one in store.relayed(10**6)] == [b"%d" % i for i in range(1, n + 1)]
    assert [claim.offset for claim in store.claims()] in ([], [n])


CHILD = """
import sys
from heliograph.adapters.sql import PostgresStore
from heliograph.ports import Fence
from tests.adapters.sql.test_faults import numbered, reached

store = PostgresStore(sys.argv[1])
(claim,) = store.claim("child", [0], 60_000)
for n in range(reached(store) + 1, 10**9):
    commit = numbered(n)
    commit.fence = Fence("child", {0: claim.epoch})
    store.commit(commit)
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_after_kill_9_every_acknowledged_commit_is_there_and_none_in_half(url: str) -> None:
    acknowledged = 0
    for life in range(5):
        child = run(CHILD, url)
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        killer = threading.Timer(0.05 + 0.07 * life, os.kill, (child.pid, signal.SIGKILL))
        killer.start()
        for line in child.stdout:
            acknowledged = int(line) if line.endswith("\n") else acknowledged
        child.wait()
        child.stdout.close()
        killer.join()
        store = PostgresStore(url)
        (claim,) = store.claim("next", [0], 60_000)  # waits for what the dead one had under way
        found = reached(store)
        assert acknowledged <= found <= acknowledged + 1 and claim.offset == found
        holds_exactly(store, found)
        store.close()


class Writer:
    """Commits one after the other, whatever happens; after a failure it reads where it is, as every caller has to."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.acknowledged = 0
        self.away = 0
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        n = 1
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                self.store.commit(numbered(n))
                self.acknowledged, n = n, n + 1
            except StoreStale:
                n = self._read(n)
            except StoreAway:
                self.longest = max(self.longest, time.monotonic() - begun)
                self.away += 1
                n = self._read(n)

    def _read(self, n: int) -> int:
        try:
            return reached(self.store) + 1
        except StoreAway:
            time.sleep(0.02)
            return n


def test_when_the_server_crashes_nothing_acknowledged_is_lost_and_nothing_done_twice(
    server: postgres.Cluster, store: PostgresStore
) -> None:
    with Writer(store) as writer:
        for _ in range(3):
            before = writer.acknowledged
            postgres.eventually(lambda before=before: writer.acknowledged > before + 5)
            server.stop("immediate")
            away = writer.away
            postgres.eventually(lambda away=away: writer.away > away)
            server.start()
        before = writer.acknowledged
        postgres.eventually(lambda: writer.acknowledged > before + 5)
    found = reached(store)
    assert found >= writer.acknowledged
    holds_exactly(store, found)


def test_a_server_that_is_paused_is_away_in_time_and_back_without_a_restart_of_ours(
    server: postgres.Cluster, store: PostgresStore
) -> None:
    with Writer(store) as writer:
        for _ in range(2):
            before = writer.acknowledged
            postgres.eventually(lambda before=before: writer.acknowledged > before + 5)
            server.signal(signal.SIGSTOP)
            away = writer.away
            try:
                postgres.eventually(lambda away=away: writer.away > away)
                begun = time.monotonic()
                for ask in (store.claims, store.next_due, store.plans):
                    with pytest.raises(StoreAway, match="does not answer"):
                        ask()
                assert time.monotonic() - begun < TIMEOUT_S, "calls wait for a server that is known to be away"
            finally:
                server.signal(signal.SIGCONT)
        before = writer.acknowledged
        postgres.eventually(lambda: writer.acknowledged > before + 5)
    assert writer.longest < 3 * TIMEOUT_S + 1
    found = reached(store)
    assert found >= writer.acknowledged
    holds_exactly(store, found)


def test_connections_that_the_server_closed_are_no_event(server: postgres.Cluster, patient: PostgresStore) -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"
    for n in range(1, 6):
        server.sql(end)
        assert reached(patient) == n - 1
        server.sql(end)
        patient.commit(numbered(n))
    holds_exactly(patient, 5)


class Line:
    """Between a store and its server: what is asked next may be cut off before it arrives, or its answer after."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut = ""
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
            threading.Thread(target=self._bring, args=(far, near), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while asked := near.recv(1 << 20):
                if self.cut == "question":
                    break
                far.sendall(asked)
        except OSError:
            pass
        self._end(near, far)

    def _bring(self, far: socket.socket, near: socket.socket) -> None:
        try:
            while answer := far.recv(1 << 20):
                if self.cut == "answer":
                    break
                near.sendall(answer)
        except OSError:
            pass
        self._end(near, far)

    def _end(self, *ends: socket.socket) -> None:
        self.cuts += bool(self.cut)
        self.cut = ""
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def line(server: postgres.Cluster) -> Iterator[Line]:
    line = Line(server.port)
    yield line
    line.close()


@pytest.mark.parametrize("cut", ["question", "answer"])
def test_a_commit_whose_answer_was_lost_is_found_out(server: postgres.Cluster, url: str, line: Line, cut: str) -> None:
    """Not written: it is written once more.  Written: it is not."""
    store = PostgresStore(url.replace(str(server.port), str(line.port)), pool=1)
    for n in range(1, 20):
        if n % 3 == 0:
            line.cut = cut
        store.commit(numbered(n))
    assert line.cuts >= 6
    holds_exactly(store, 19)
    store.close()


def test_while_nobody_can_tell_the_doubt_is_kept_and_settled_before_the_next_commit(
    server: postgres.Cluster, url: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and then the server: what comes next is told to read again, because it is all there."""
    store = PostgresStore(url.replace(str(server.port), str(line.port)), pool=1, timeout_s=TIMEOUT_S)
    store.commit(Commit(journal=[("u:1", fact(1))]))
    line.cut = "answer"
    real = line._bring

    def deaf(far: socket.socket, near: socket.socket) -> None:
        far.close(), near.close()

    monkeypatch.setattr(line, "_bring", deaf)
    with pytest.raises(StoreAway):
        store.commit(Commit(journal=[("u:1", fact(2))]))
    with pytest.raises(StoreAway):
        store.journal("u:1")
    monkeypatch.setattr(line, "_bring", real)
    postgres.eventually(lambda: _answers(lambda: store.journal("u:1")))
    assert [row.at for row in store.journal("u:1")] == [2, 1]
    with pytest.raises(StoreStale, match="read again"):
        store.commit(Commit(journal=[("u:1", fact(3))]))
    store.commit(Commit(journal=[("u:1", fact(3))]))
    assert [row.at for row in store.journal("u:1")] == [3, 2, 1]
    store.close()


def _answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except StoreAway:
        return False
    return True


PUBLISHER = """
import sys, time
from heliograph.adapters.sql import PostgresStore, shared
from heliograph.ports import Commit, Relayed

shared.RELAY_MS = 4_000
store = PostgresStore(sys.argv[1])
store.commit(Commit(relay=[Relayed(f"r{n}", "records", b"", b"") for n in range(5)]))
found = store.relayed(10)
store.forget_relayed([found[0][0]])
print("publishing", flush=True)
while True:
    store.relayed(10)
    time.sleep(0.05)
"""


def test_what_a_publisher_had_in_hand_when_it_was_killed_is_given_out_again(url: str, patient: PostgresStore) -> None:
    child = run(PUBLISHER, url)
    assert child.stdout is not None and child.stdout.readline() == "publishing\n"
    assert patient.relayed(10) == []
    child.kill()
    child.wait()
    child.stdout.close()
    postgres.eventually(lambda: [one.id for _, one in patient.relayed(10)] == ["r1", "r2", "r3", "r4"])


PAUSED = """
import sys, time
from heliograph.adapters.sql import PostgresStore
from heliograph.ports import Commit, Fence, Fenced

store = PostgresStore(sys.argv[1])
(claim,) = store.claim("old", [3], 200)
n = 0
try:
    while True:
        n += 1
        store.commit(Commit(meta={"by": b"old %d" % n}, fence=Fence("old", {3: claim.epoch})))
        print(n, flush=True)
except Fenced:
    print("fenced", flush=True)
"""


def test_a_worker_that_was_paused_writes_nothing_when_it_wakes(url: str, patient: PostgresStore) -> None:
    child = run(PAUSED, url)
    assert child.stdout is not None
    child.stdout.readline()
    os.kill(child.pid, signal.SIGSTOP)
    claim = patient.claims()[0]
    (mine,) = patient.claim("new", [claim.partition], 60_000)
    seen = patient.meta("by")
    patient.commit(Commit(meta={"mine": b"x"}, fence=Fence("new", {3: mine.epoch})))
    os.kill(child.pid, signal.SIGCONT)
    assert list(child.stdout)[-1] == "fenced\n"
    child.wait()
    child.stdout.close()
    assert patient.meta("by") == seen
    with pytest.raises(Fenced):
        patient.commit(Commit(meta={"by": b"late"}, fence=Fence("old", {3: claim.epoch})))


def test_a_start_that_failed_leaves_nothing_and_one_that_wrote_stays_known(url: str, patient: PostgresStore) -> None:
    def known() -> set[bytes]:
        return {row[0] for row in patient._db.rows("SELECT name FROM processes")}

    failed, wrote = (
        PostgresStore(url, timeout_s=postgres.PATIENCE_S, pool=1, name=name) for name in ("failed", "wrote")
    )
    wrote.commit(Commit(meta={"by": b"wrote"}))
    assert known() == {b"", b"failed", b"wrote"}
    failed.close()
    wrote.close()
    assert known() == {b"", b"wrote"}


def test_more_threads_than_connections_wait_for_each_other(url: str) -> None:
    store = PostgresStore(url, pool=2, timeout_s=postgres.PATIENCE_S)
    store.commit(Commit(states={f"u:{n}": b"%d" % n for n in range(20)}, journal=[("u:1", JournalRow(1, "x", {}))]))
    wrong: list[int] = []

    def read(n: int) -> None:
        for _ in range(20):
            if store.states([f"u:{n}"]) != [b"%d" % n]:
                wrong.append(n)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    store.close()


def test_a_closed_store_says_so(url: str) -> None:
    store = PostgresStore(url)
    heard: list[Exception] = []

    def wait() -> None:
        try:
            store._db.rows("SELECT pg_sleep(3)")
        except StoreAway as error:
            heard.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    postgres.eventually(lambda: store._db._busy)
    store.close()
    store.close()
    waiting.join()
    assert len(heard) == 1
    with pytest.raises(StoreAway, match="closed"):
        store.states(["u:1"])


def test_a_server_that_is_not_there_is_away_and_a_password_is_never_shown() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(StoreAway) as told:
            PostgresStore(f"postgresql://app:secret@127.0.0.1:{free.getsockname()[1]}/x", timeout_s=TIMEOUT_S)
    assert "secret" not in str(told.value)


@pytest.fixture
def small_disk(server: postgres.Cluster) -> Iterator[Path]:
    """Forty megabytes of tmpfs for the tables, not for the server's own log; needs root."""
    folder = server.folder / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m,mode=777", "tmpfs", str(folder)], check=False
    ).returncode:
        pytest.skip("cannot mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_refuses_whole_commits_and_goes_on_when_there_is_room(
    server: postgres.Cluster, small_disk: Path
) -> None:
    data = small_disk / "tables"
    data.mkdir(mode=0o700)
    server.give(data)
    server.sql(f"CREATE TABLESPACE small LOCATION '{data}'")
    owner = server.database("TABLESPACE small")
    migrating.upgrade(owner)
    store, done = PostgresStore(owner.replace("owner@", "app@"), timeout_s=postgres.PATIENCE_S), 0
    with pytest.raises(StoreFull, match="no room"):
        for n in range(1, 1000):
            store.commit(_with_ballast(n))
            done = n
    # Reads may be refused meanwhile, too: the server makes room in memory by writing pages out.
    assert subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=False).returncode == 0
    holds_exactly(store, done)
    store.commit(_with_ballast(done + 1))
    holds_exactly(store, done + 1)
    store.close()
    server.sql(f"DROP DATABASE {owner.rpartition('/')[2]} WITH (FORCE)", "DROP TABLESPACE small")


def _with_ballast(n: int) -> Commit:
    commit = numbered(n)
    commit.meta[f"ballast {n}"] = os.urandom(400_000)
    return commit


def test_a_slow_answer_is_away_in_time_and_a_listing_has_more_of_it(store: PostgresStore) -> None:
    with pytest.raises(StoreAway):
        store._db.rows("SELECT pg_sleep($1)", TIMEOUT_S * 2)
    postgres.eventually(lambda: _answers(store.plans))
    assert len(store._db.rows("SELECT pg_sleep($1)", TIMEOUT_S * 1.5, patience=8)) == 1
