"""The engine and a real mailer process against the hostile receiver: what the ledger says is what the receiver has.

One mailer meets one script after the other, each with people of its own; the engine's clock is moved by hand from one
attempt to the next.
"""

import contextlib
import itertools
import os
import random
import ssl
from collections.abc import AsyncIterator

import pytest

from heliograph.deliver.routes import single
from heliograph.ports import MessageRow
from heliograph.runtime.engine import EmbeddedEngine
from tests.certificates import Authority
from tests.hostile import Hostile, hostile
from tests.hostile_laws import Fate, check
from tests.hostile_scripts import ANSWERS, ENDS, NONSENSE, PAIRS, Point, Script, Turn
from tests.impatient import QUICK
from tests.mailing import ended, mailing, order, suppressed

PEOPLE = 6
CHOSEN = (
    "closes", "resets within the reply", "falls silent", "resets behind the reply", "421 rate", "452", "550 unknown",
    "550 about the sender", "554 long", "two codes in one reply", "250", "354", "535", "two replies at once",
    "a refusal without end",
)  # fmt: skip
"""Of each kind of trick some, at the points where mail is at stake; at the others the transport never gets that far."""
AT_STAKE = (Point.BANNER, Point.STARTTLS, Point.MAIL, Point.RCPT, Point.DATA, Point.DOT, Point.RSET)


class World:
    """An engine with one mailer process, and the receiver that both suffer."""

    def __init__(self, engine: EmbeddedEngine, receiver: Hostile) -> None:
        self.engine, self.receiver = engine, receiver
        self._numbers = itertools.count()

    async def suffer(self, script: Script) -> None:
        """Mail to new people until everything has its end; the laws hold for them."""
        people = [f"p{next(self._numbers)}@people.example" for _ in range(PEOPLE)]
        self.receiver.script = script
        self.receiver.counts.clear()
        self.receiver.refused_senders.clear()
        self.receiver.strangers = frozenset({people[3]})
        await order(self.engine, people)
        rows = await ended(self.engine, people)
        check(self.receiver, {person: self._fate(row) for person, row in rows.items()})

    def _fate(self, row: MessageRow) -> Fate:
        return Fate(row.status, row.reason, suppressed(self.engine, row.address))


@contextlib.asynccontextmanager
async def world(pipelining: bool, tls: ssl.SSLContext | None) -> AsyncIterator[World]:
    async with hostile(Hostile({}, pipelining, tls)) as receiver:
        routes = single(receiver.url, QUICK.connections)
        async with mailing(routes, transport="tests.impatient:transport") as engine:
            yield World(engine, receiver)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return Authority(tmp_path_factory.mktemp("tls")).serving()


@pytest.mark.parametrize("pipelining", [False, True], ids=["lock-step", "pipelining"])
@pytest.mark.parametrize("kind", ["ends", "answers", "nonsense", "pairs"])
async def test_the_ledger_says_what_the_receiver_has(kind: str, pipelining: bool, tls: ssl.SSLContext) -> None:
    tricks = {"ends": ENDS, "answers": ANSWERS, "nonsense": NONSENSE, "pairs": {}}[kind]
    chosen = {name: trick for name, trick in tricks.items() if name in CHOSEN}
    scripts = {
        f"{point}: {name}": {point: Turn(trick)} for point, (name, trick) in itertools.product(AT_STAKE, chosen.items())
    }
    async with world(pipelining, tls if kind == "ends" else None) as scene:
        for name, script in (scripts or PAIRS).items():
            try:
                await scene.suffer(script)
            except (AssertionError, TimeoutError) as error:
                raise AssertionError(f"{name}: {error!r}") from error


async def test_a_random_mix_leaves_the_ledger_right(tls: ssl.SSLContext) -> None:
    seed = int(os.environ.get("HELIOGRAPH_TEST_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    tricks = {**ENDS, **ANSWERS, **NONSENSE}
    async with world(True, tls) as scene:
        for _ in range(20):
            points = chance.sample(AT_STAKE, 3)
            script = {
                point: Turn(tricks[chance.choice([*tricks])], frozenset(range(chance.randint(1, 4))))
                for point in points
            }
            try:
                await scene.suffer(script)
            except (AssertionError, TimeoutError) as error:
                raise AssertionError(f"seed {seed}: {script}: {error!r}") from error
