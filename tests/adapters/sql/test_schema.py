"""The schema: what the migrations make is what the tables say, with data in both directions, and no other is used."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from typer.testing import CliRunner

from heliograph.adapters.sql import PostgresStore, migrating, schema
from heliograph.adapters.sql.tables import metadata
from heliograph.cli.app import app
from heliograph.events.ids import bucket
from heliograph.ports import Commit, Relayed, StoreFailed, StoreTooNew
from tests import postgres
from tests.contracts.samples import arrival, fact, message, suppression

pytestmark = pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not() or "none")


@pytest.fixture
def owner() -> str:
    return postgres.cluster().database()


def _app(owner: str) -> str:
    return owner.replace("owner@", "app@")


def _commit() -> Commit:
    return Commit(
        log=[(1, arrival("u:1", "e1", 1))],
        states={"u:1": b"one", "a:\x00": b"two"},
        wakeups={"u:1": (None, 5)},
        messages={"m1": message("m1", 1, rev=0)},
        ledger={("a@x", "!manual"): suppression("a@x")},
        members={(name, f"u:{n}"): n for name in ("all", "some") for n in range(40 if name == "all" else 3)},
        journal=[("u:1", fact(1)), ("u:1", fact(2))],
        emails={("a@x", "u:1"): True},
        meta={"m" * 3_000: b"x"},
    )


def _answers(store: PostgresStore) -> list[object]:
    return [
        store.states(["u:1", "a:\x00"]), store.due(9), store.message("m1"), store.messages(), store.ledger("a@x"),
        store.suppressions(), store.members("all"), store.member_count("all"), store.member_count("some"),
        store.journal("u:1"), store.keys_of_email("a@x"), store.metas(), list(store.history("u:1")),
    ]  # fmt: skip


def test_the_migrations_make_the_tables_that_the_code_knows(owner: str) -> None:
    migrating.upgrade(owner)

    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    assert migrating._with(owner, differences) == []


def test_the_last_revision_is_the_one_that_the_code_needs() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrating.__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [schema.HEAD]
    assert tuple(one.revision for one in reversed(list(script.walk_revisions()))) == schema.REVISIONS


@pytest.mark.parametrize("back", schema.REVISIONS[:-1])
def test_a_database_goes_back_and_forth_with_everything_in_it(owner: str, back: str) -> None:
    migrating.upgrade(owner)
    store = PostgresStore(_app(owner))
    store.commit(_commit())
    before = _answers(store)
    store.close()
    migrating.downgrade(owner, back)
    assert migrating.current(owner) == back
    with pytest.raises(StoreFailed, match=f"schema {back}.*needs schema {schema.HEAD}; run: heliograph db upgrade"):
        PostgresStore(_app(owner))
    migrating.upgrade(owner)
    store = PostgresStore(_app(owner))
    assert _answers(store) == before
    store.commit(Commit(members={("all", "u:0"): None, ("all", "u:new"): 1, ("some", "u:1"): 5}))
    assert (store.member_count("all"), store.member_count("some")) == (40, 3)
    store.close()


def test_members_from_before_they_were_counted_are_counted(owner: str) -> None:
    migrating.upgrade(owner, "0002")
    rows = ", ".join(f"(0, 'vip', {bucket(f'u:{n}')}, 'u:{n}', {n})" for n in range(300))
    postgres.ask(owner, f"INSERT INTO members VALUES {rows}")
    migrating.upgrade(owner)
    store = PostgresStore(_app(owner))
    assert store.member_count("vip") == 300 == len(store.members("vip", 1000)[0])
    store.close()


def test_what_still_has_to_leave_for_the_log_is_not_thrown_away(owner: str) -> None:
    migrating.upgrade(owner)
    store = PostgresStore(_app(owner))
    store.commit(Commit(relay=[Relayed("r", "records", b"", b"")]))
    with pytest.raises(StoreFailed, match="let it publish"):
        migrating.downgrade(owner, "0001")
    assert migrating.current(owner) in ("0002", "0003")
    migrating.upgrade(owner)
    store.forget_relayed([number for number, _ in store.relayed(1)])
    store.close()
    migrating.downgrade(owner, "0001")
    migrating.downgrade(owner, "base")
    assert migrating.current(owner) == ""
    tables = postgres.ask(owner, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row[0] for row in tables] == ["alembic_version"]


def test_an_empty_database_is_told_apart_from_a_newer_one(owner: str) -> None:
    with pytest.raises(StoreFailed, match=r"no tables of Heliograph.*heliograph db upgrade"):
        PostgresStore(_app(owner))
    migrating.upgrade(owner)
    postgres.ask(owner, "UPDATE alembic_version SET version_num = '0999'")
    for use in (
        lambda: PostgresStore(_app(owner)),
        lambda: migrating.upgrade(owner),
        lambda: migrating.downgrade(owner, "0001"),
    ):
        with pytest.raises(StoreTooNew, match=r"schema 0999.*downgrade"):
            use()


def test_processes_may_not_change_the_schema(owner: str) -> None:
    migrating.upgrade(owner)
    with pytest.raises(StoreFailed, match="must be owner"):
        migrating.downgrade(_app(owner), "0002")
    assert migrating.current(_app(owner)) == schema.HEAD


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["db", *arguments])
        return result.exit_code, result.output

    return run


def test_the_command_says_where_it_is_and_goes_there(owner: str, told: Callable[..., tuple[int, str]]) -> None:
    assert told("current", "--url", owner) == (1, f"schema none; this version needs {schema.HEAD}\n")
    assert told("upgrade", "--url", owner) == (0, f"the database has schema {schema.HEAD}\n")
    assert told("current", "--url", owner) == (0, f"schema {schema.HEAD}; this version needs {schema.HEAD}\n")
    assert told("downgrade", "0002", "--url", owner) == (0, "the database has schema 0002\n")
    code, text = told("downgrade", "7", "--url", owner)
    assert code == 1 and "there is no schema 7; known are 0001, 0002, 0003" in text


def test_the_command_names_what_does_not_answer_without_its_password(told: Callable[..., tuple[int, str]]) -> None:
    code, text = told("current", "--url", "postgresql://me:secret@127.0.0.1:1/db")
    assert code == 1 and "postgresql://me@127.0.0.1:1/db" in text and "secret" not in text
