"""What is packed in one place is what is unpacked in the other, and a file that was harmed is never used."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heliograph import decide
from heliograph.adapters.memory import MemoryStore, SharedMemoryStore
from heliograph.events.record import Adopt, decode_record
from heliograph.ports import Commit, PlanRow, Store, StoreAway
from heliograph.ports.stream import PLAN
from heliograph.runtime import archive, moving
from heliograph.runtime.plan_watch import plan_of
from heliograph.runtime.tally import JourneyTally, Tally
from tests.simulation import plans
from tests.simulation.world import World

NOW = 1_790_000_000_000


@pytest.fixture(scope="module")
def lived() -> Store:
    """A store in which much has happened: runs under way, mail in every status, words, lists, merges, broadcasts."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201
    world = World(seed, list(plans.FEATURES), 4_000, crash=0)
    while world.watch.position < 3_000:
        world.step()
    return world.store


def moved(store: Store, path: Path) -> tuple[MemoryStore, list[Commit]]:
    archive.write(path, moving.pack(store))
    archive.verify(path)
    commits, there = list(moving.unpack(archive.read(path), NOW)), MemoryStore()
    for commit in commits:
        there.commit(commit)
    return there, commits


def everything(read: Callable[..., tuple[list[Any], str | None]]) -> list[Any]:
    return list(moving._pages(read))


def test_all_that_was_known_is_known(lived: Store, tmp_path: Path) -> None:
    there, _ = moved(lived, tmp_path / "house.heliograph")
    keys = lived.keys(limit=100_000)
    assert keys and there.keys(limit=100_000) == keys
    assert there.states(keys) == lived.states(keys)
    for key in keys:
        assert list(there.history(key)) == list(lived.history(key))
        assert there.journal(key, 100_000) == lived.journal(key, 100_000)
        assert there.messages(key=key, limit=100_000) == lived.messages(key=key, limit=100_000)
    assert there.words(limit=100_000) == lived.words(limit=100_000) != []
    assert there.emails(limit=100_000) == lived.emails(limit=100_000) != []
    for address in lived.emails(limit=100_000):
        assert there.keys_of_email(address) == lived.keys_of_email(address)
    plan = lived.plan()
    assert plan is not None and there.plans() == lived.plans() and there.plan() == plan
    for name in {name for key in keys for name in decide.decode_state(lived.states((key,))[0] or b"").members}:
        assert there.members(name, limit=100_000) == lived.members(name, limit=100_000)
    assert list(there.requests()) == list(lived.requests())
    assert everything(there.broadcasts) == everything(lived.broadcasts)
    assert everything(there.dead_letters) == everything(lived.dead_letters)
    names = [name for name in lived.metas() if name not in moving.NOT_MOVED and not name.startswith("tally")]
    assert there.metas() == sorted([*names, "tally@0"])
    assert [there.meta(name) for name in names] == [lived.meta(name) for name in names]
    assert (
        msgspec.msgpack.decode(there.meta("tally@0") or b"", type=dict[str, JourneyTally]) == Tally.load(lived).journeys
    )
    now = 10**15
    assert sorted(there.due(now, 100_000)) == sorted(lived.due(now, 100_000)) != []


def test_everybody_is_adopted_once_behind_everything_else(lived: Store, tmp_path: Path) -> None:
    _, commits = moved(lived, tmp_path / "house.heliograph")
    plan, *posts = [post for commit in commits for post in commit.relay]
    assert plan.topic == PLAN and plan_of(plan.value) == lived.plan()
    records = [decode_record(post.value) for post in posts]
    assert [record.key for record in records] == lived.keys(limit=100_000)
    assert all(isinstance(record.body, Adopt) and record.received_at == NOW for record in records)
    assert len({post.id for post in posts}) == len(posts)
    first = next(number for number, commit in enumerate(commits) if commit.relay)
    assert not any(commit.messages or commit.ledger for commit in commits[first + 1 :])


@pytest.mark.parametrize("harm", ["cut", "flipped", "swapped", "text", "newer"])
def test_a_harmed_file_is_refused_with_a_reason(lived: Store, tmp_path: Path, harm: str) -> None:
    path = tmp_path / "house.heliograph"
    archive.write(path, moving.pack(lived))
    data = bytearray(path.read_bytes())
    if harm == "cut":
        data = data[: len(data) // 2]
    elif harm == "flipped":
        data[len(data) // 2] ^= 1
    elif harm == "swapped":
        rows = list(archive.read(path))
        plain = gzip.decompress(bytes(data))
        data = bytearray(gzip.compress(plain.replace(rows[-1].state[-20:], b"x" * 20)))  # type: ignore[union-attr]
    elif harm == "text":
        data = bytearray(b"name,email\n")
    else:
        data = bytearray(gzip.compress(archive.MAGIC + b"\x63"))
    path.write_bytes(data)
    with pytest.raises(archive.ArchiveError, match=r"damaged|cut short|newer|written by|update"):
        archive.verify(path)


def shared(lived: Store, tmp_path: Path) -> tuple[Path, list[Commit]]:
    file = tmp_path / "house.heliograph"
    archive.write(file, moving.pack(lived))
    return file, list(moving.unpack(archive.read(file), NOW))


class Dying(SharedMemoryStore):
    """Its process dies behind some commit."""

    left = 10**9

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        if not self.left:
            raise StoreAway("the process died")
        self.left -= 1
        super().commit(commit, sync=sync)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_move_that_was_interrupted_goes_on_where_it_was(lived: Store, tmp_path: Path, at: int) -> None:
    file, commits = shared(lived, tmp_path)
    whole, store = SharedMemoryStore(), Dying()
    assert moving.move_in(whole, file, NOW)
    store.left = min(at, len(commits))
    with pytest.raises(StoreAway):
        moving.move_in(store, file, NOW)
    store.left = 10**9
    assert moving.move_in(store, file, NOW + 5)
    assert not moving.move_in(store, file, NOW + 9)
    for key in lived.keys(limit=100_000):
        assert store.journal(key, 100_000) == whole.journal(key, 100_000)
        assert store.states((key,)) == lived.states((key,))
    assert [row.id for _, row in store.relayed(10**6)] == [row.id for _, row in whole.relayed(10**6)]


def test_nobody_moves_in_where_somebody_lives(lived: Store, tmp_path: Path) -> None:
    file, _ = shared(lived, tmp_path)
    store = SharedMemoryStore()
    store.commit(Commit(plan=PlanRow(1, b"{}", 5)))
    with pytest.raises(moving.Occupied, match="life of its own"):
        moving.move_in(store, file, NOW)
    other, empty = tmp_path / "other.heliograph", MemoryStore()
    archive.write(other, moving.pack(empty))
    store = SharedMemoryStore()
    assert moving.move_in(store, file, NOW)
    with pytest.raises(moving.Occupied, match="another file"):
        moving.move_in(store, other, NOW)
