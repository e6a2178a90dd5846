"""The mailer renders a lane only while its way has room, and lanes take turns."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from heliograph.deliver.routes import DIRECT, DirectRoute, Reach, RelayRoute, Routes, single
from heliograph.ports import Courier, Parcel, Transport, Verdict
from heliograph.render import compile_template
from heliograph.runtime import mailer as module
from heliograph.runtime import mailwire
from heliograph.runtime.mailer import CREDIT, Mailer, credit
from heliograph.runtime.mailwire import Job, MailerSender, MailerSettings

TEMPLATE = compile_template("hello", {"subject": "Hello", "sender": "default"}, "<p>Hello</p>", "html", None)
MAILED = Verdict("sent", 250, "2.0.0", "250 2.0.0 Ok", "dot")


class Ways:
    """A transport whose room a test sets.  ``posted``: what it was given, in order."""

    def __init__(self) -> None:
        self.left: defaultdict[tuple[str, str], int] = defaultdict(lambda: 1_000_000)
        self.posted: list[Parcel] = []
        self.looks = 0

    def room(self, route: str, receiver: str) -> int:
        self.looks += 1
        return self.left[route, receiver]

    def post(self, parcel: Parcel) -> None:
        self.posted.append(parcel)
        self.left[parcel.route, parcel.receiver] -= 1

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None: ...

    def reach(self, receivers: Mapping[str, Reach]) -> None:
        self.reaches = dict(receivers)
        for name in receivers:
            self.left[DIRECT, name] = 1_000

    async def close(self, grace_s: float) -> None: ...


class Desk:
    """A mailer without its socket."""

    def __init__(self) -> None:
        self.ways = Ways()
        self.mailer = Mailer(self._open, lambda: 1_800_000_000_000)
        senders = {"default": MailerSender(from_="Shop <hello@shop.example>")}
        settings = MailerSettings(single("smtp://x"), senders, "http://127.0.0.1:8080", {"1": bytes(32)})
        self.hear(mailwire.Setup(1, settings, [TEMPLATE]))

    def _open(self, routes: Routes, courier: Courier) -> Transport:
        self.courier = courier
        return self.ways

    def hear(self, message: mailwire.FromEngine) -> None:
        """Through the wire's encoding, as from a socket."""
        frame = mailwire.frame(message)
        self.mailer.data_received(frame[:3])
        self.mailer.data_received(frame[3:])

    def offer(self, *jobs: Job) -> None:
        self.hear(mailwire.Offer(list(jobs)))

    async def quiet(self) -> None:
        """All that can be rendered now is."""
        for _ in range(2000):
            await asyncio.sleep(0)
            if not self.mailer._rendering:
                return
        raise AssertionError("it goes round and round")

    @property
    def lanes(self) -> list[str]:
        return [parcel.receiver for parcel in self.ways.posted]


def job(number: int, receiver: str, route: str = "default") -> Job:
    context = {"profile": {"id": "u", "email": "a@b.example"}, "event": None, "trigger": None, "run": {}, "last": {}}
    return Job(
        f"m{number:020d}", "hello", TEMPLATE["version"], f"p{number}@{receiver or 'domain'}.example", context, 0, 0,
        route=route, receiver=receiver,
    )  # fmt: skip


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def test_a_lane_without_room_holds_up_no_other(desk: Desk) -> None:
    desk.ways.left["default", "slow"] = 2
    desk.offer(*(job(n, "slow") for n in range(100)), *(job(n, "fast") for n in range(100, 130)))
    await desk.quiet()
    assert Counter(desk.lanes) == {"slow": 2, "fast": 30}
    desk.ways.left["default", "slow"] = 5
    desk.courier.delivered(desk.ways.posted[0], MAILED)
    await desk.quiet()
    assert Counter(desk.lanes) == {"slow": 7, "fast": 30}


async def test_what_receivers_allow_may_change_under_way_and_what_waited_for_it_goes_on(desk: Desk) -> None:
    """As when another machine comes or goes."""
    desk.ways.left[DIRECT, "big"] = 0
    desk.offer(*(job(n, "big", DIRECT) for n in range(3)))
    await desk.quiet()
    assert desk.lanes == []
    desk.hear(mailwire.Reaches({"big": Reach(2, 0.5, 20)}))
    await desk.quiet()
    assert desk.ways.reaches == {"big": Reach(2, 0.5, 20)} and desk.lanes == ["big"] * 3


async def test_lanes_take_turns(desk: Desk) -> None:
    """Whoever has a backlog waits for a slice of each of the others, not the others for the backlog."""
    desk.offer(*(job(n, "big") for n in range(100)))
    desk.offer(job(100, "one"), job(101, "two"), job(102, "three"))
    await desk.quiet()
    places = [desk.lanes.index(name) for name in ("one", "two", "three")]
    assert max(places) <= 2 * module.SLICE
    assert len(desk.lanes) == 103


async def test_within_a_lane_order_stays(desk: Desk) -> None:
    desk.offer(*(job(n, "abc"[n % 3]) for n in range(60)))
    await desk.quiet()
    for name in "abc":
        ids = [parcel.message_id for parcel in desk.ways.posted if parcel.receiver == name]
        assert ids == sorted(ids)


async def test_a_slice_is_rendered_at_a_time(desk: Desk) -> None:
    desk.offer(*(job(n, "abc"[n % 3]) for n in range(60)))
    before = 0
    while len(desk.ways.posted) < 60:
        await asyncio.sleep(0)
        assert len(desk.ways.posted) - before <= module.SLICE
        before = len(desk.ways.posted)


async def test_routes_are_lanes_of_their_own(desk: Desk) -> None:
    desk.ways.left["default", "x"] = 0
    desk.offer(job(0, "x"), job(1, "x", "backup"))
    await desk.quiet()
    assert [parcel.route for parcel in desk.ways.posted] == ["backup"]


async def test_where_nobody_told_receivers_apart_domains_are_lanes(desk: Desk) -> None:
    desk.ways.left[DIRECT, "slow.example"] = 0
    jobs = [msgspec.structs.replace(job(n, "", DIRECT), address=f"p@{'slow' if n else 'fast'}.example") for n in (1, 0)]
    desk.offer(*jobs)
    await desk.quiet()
    assert [parcel.recipient for parcel in desk.ways.posted] == ["p@fast.example"]


async def test_what_waits_is_looked_at_once_an_occasion(desk: Desk) -> None:
    """A hundred receivers without room cost a hundred looks when something happens, and none when nothing does."""
    for n in range(100):
        desk.ways.left["default", f"r{n}"] = 0
    desk.offer(*(job(n, f"r{n}") for n in range(100)))
    await desk.quiet()
    looks = desk.ways.looks
    assert looks <= 100
    for _ in range(50):
        await asyncio.sleep(0)
    assert desk.ways.looks == looks


def test_credit_grows_with_connections() -> None:
    assert credit(single("smtp://x", 10)) == CREDIT
    assert credit(Routes((), DirectRoute(connections=200))) == CREDIT + 2 * (200 - module.FEW)
    assert credit(Routes((RelayRoute("a", "smtp://x", 20), RelayRoute("b", "smtp://y", 20)))) == CREDIT + 16
