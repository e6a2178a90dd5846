"""Each claim of ``degrade/rows.py``, on real processes: a part is taken away under load, looked at, and brought back.

Nothing that was acknowledged is lost, and nobody gets a mail twice.  With HELIOGRAPH_MEASURED=1 the figures are kept
for the page.
"""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from deploy.local.cluster import Cluster

from tests.cluster.degrade.load import Load
from tests.cluster.degrade.machines import Machines, Slowly
from tests.cluster.degrade.page import Figure, keep
from tests.cluster.degrade.rows import BUSY, LOG, ROWS, SPOOL, Row
from tests.cluster.machine import call, eventually

pytest.importorskip("clickhouse_connect")
WAITS_S = 3.0
"""Nothing of what waits is mailed within this."""
SLOWLY_S = 5.0
"""Of load on a part that is slow, before it is looked at."""
SETTLED = {"sent", "unknown"}


@pytest.fixture(scope="module")
def machines(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(cluster, tmp_path_factory.mktemp("degrade"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def told(machines: Machines) -> Iterator[None]:
    """What the machines say last is shown beside a row that fails."""
    yield
    print(machines.said())  # noqa: T201


@pytest.fixture
def brain(row: Row, machines: Machines) -> None:
    """Rows about Flink have a job there; the first of them waits for it."""
    if row.part == "taskmanager":
        machines.decide_on_flink()


@pytest.mark.usefixtures("brain")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_while_a_part_is_away(row: Row, machines: Machines) -> None:
    machines.ready(row.spool_mb)
    with ExitStack() as stack:
        load = stack.enter_context(Load(row.name, lambda: machines.collector.url))
        eventually(lambda: machines.mails()[f"{row.name}-0@x.test"] == 1)
        link, began = machines.link(f"{row.name}-0@x.test"), time.monotonic()
        slow = take(row, machines, stack)
        try:
            eventually(lambda: tells(row, machines), 60)
            if BUSY in row.events:
                fill(load)
            if row.how == "slow":
                time.sleep(SLOWLY_S)
            noticed = time.monotonic()
            look(row, machines, load, link)
            looked = time.monotonic()
        finally:
            ended = time.monotonic()
            slow.close()
            bring(row, machines)
        returned = time.monotonic()
        load.end(patience(row.back_s))
        eventually(lambda: settled(machines, load), patience(row.back_s))
        eventually(lambda: machines.clean(machines.collector) and machines.clean(machines.worker), patience(row.back_s))
        back_s = time.monotonic() - returned
    judge_answers(row, load, began, noticed, ended)
    rows = judge_mail(row, machines, load)
    if row.part == "facts":
        eventually(lambda: machines.loaded(row.name) == (len(rows), len(rows)), patience(row.back_s))
        back_s = time.monotonic() - returned
    assert back_s <= patience(row.back_s)
    if os.environ.get("HELIOGRAPH_MEASURED"):
        slowest = max(one.seconds for one in load.answers if one.at >= began)
        unknown = sum(statuses == ["unknown"] for statuses in rows.values())
        goes_s = round(looked - began, 1) if row.mail == "goes" and row.how != "slow" else 0.0
        keep(row.name, Figure(round(slowest, 2), round(back_s, 1), len(load.acknowledged), unknown, goes_s))


def patience(seconds: float) -> float:
    """A bound of the table is that of a machine which does nothing else."""
    return seconds * (3 if "CI" in os.environ else 1)


def take(row: Row, machines: Machines, stack: ExitStack) -> ExitStack:
    """What is returned ends the slowness."""
    slow, part = stack.enter_context(ExitStack()), machines.parts[row.part]
    match row.how:
        case "killed":
            part.kill()
        case "paused":
            part.pause()
        case "slow":
            slow.enter_context(Slowly(part))
    return slow


def bring(row: Row, machines: Machines) -> None:
    match row.how:
        case "killed":
            machines.parts[row.part].start()
        case "paused":
            machines.parts[row.part].resume()


def tells(row: Row, machines: Machines) -> bool:
    """Who has to say so does, and whoever can work says that it takes work."""
    said = {"collect": machines.troubles(machines.collector)}
    if row.part != "worker":
        said["deliver"] = machines.troubles(machines.worker)
    assert all(status == 200 for role, (status, _) in said.items() if role not in row.idle), said
    return all(name in said[role][1] for role, name in row.told)


def fill(load: Load) -> None:
    """Until the spool takes no order any more, not even a small one."""
    for count, pad in ((10, 30_000), (1, 30_000), (1, 3_000), (1, 0)):
        for _ in range(200):
            if load.offer(count, pad)[0].said == BUSY:
                break
        else:
            pytest.fail("the spool is never full")


def look(row: Row, machines: Machines, load: Load, link: str) -> None:
    answer, addresses = load.offer(5)
    assert answer.said in may_say(row)
    if answer.said == BUSY:
        assert answer.retry_after == "5"
    assert call(machines.collector.url + "/api/messages?limit=1")[0] == row.reads
    assert unsubscribe(link) == row.links
    if row.mail == "goes":
        eventually(lambda: addresses <= set(machines.mails()), 240)
    else:
        time.sleep(WAITS_S)
        assert not addresses & set(machines.mails())
        if row.status:
            eventually(lambda: statuses(machines, load, addresses) == {row.status}, 60)


def statuses(machines: Machines, load: Load, addresses: set[str]) -> set[str]:
    rows = machines.rows(load.prefix + "-")
    return {status for one in addresses for status in rows.get(one, ["missing"])}


def may_say(row: Row) -> set[str]:
    """What Kafka acknowledges is in the log; on a machine that is busy with the rest of a row one call may take longer
    than the second after which the spool has it."""
    return {*row.events, SPOOL} if LOG in row.events else set(row.events)


def unsubscribe(link: str) -> int:
    """As a mailbox provider does it (RFC 8058)."""
    try:
        with urllib.request.urlopen(link, b"List-Unsubscribe=One-Click", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def settled(machines: Machines, load: Load) -> bool:
    rows = machines.rows(load.prefix + "-")
    return all(set(rows.get(one, ["missing"])) <= SETTLED for one in load.acknowledged)


def judge_answers(row: Row, load: Load, began: float, noticed: float, ended: float) -> None:
    early = {one.said for one in load.answers if began <= one.at < noticed}
    late = {one.said for one in load.answers if noticed <= one.at < ended}
    assert early <= {*may_say(row), *row.noticing}, early
    assert late <= may_say(row), late
    assert max(one.seconds for one in load.answers) <= patience(row.within_s)


def judge_mail(row: Row, machines: Machines, load: Load) -> dict[str, list[str]]:
    """Each acknowledged order has one message and one mail; what is `unknown` has one at most."""
    rows, mails = machines.rows(load.prefix + "-"), machines.mails()
    assert set(rows) == load.acknowledged, "lost, or never offered"
    assert all(len(statuses) == 1 for statuses in rows.values()), "decided twice"
    for address, (status,) in rows.items():
        assert mails[address] == 1 or (status == "unknown" and mails[address] == 0), (address, status, mails[address])
    return rows
