"""A broadcast as its sender has it: the command, a real server, a real receiver; each address once."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Receiver, Server, shop, until
from tests.e2e.test_operate import at

PEOPLE, SILENT, STOPPED = 300, 10, 5


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(hold=0.02) as receiver:
        yield receiver


@pytest.fixture
def server(receiver: Receiver, tmp_path: Path) -> Iterator[Server]:
    with shop(tmp_path, receiver) as server:
        yield server


def known(name: str, address: str | None) -> dict[str, Any]:
    traits = {"firstName": name.title(), **({"email": address} if address else {})}
    consent = {"categoryPreferences": {"offers": True}}
    return {"type": "identify", "userId": name, "traits": traits, "context": {"consent": consent}}


def populate(server: Server) -> set[str]:
    """300 people with an address, two of them with the same one, some without any, some suppressed; the addresses that
    are to be mailed."""
    addresses = {f"p{n}": f"p{n}@people.example" for n in range(PEOPLE)}
    calls = [known(name, address) for name, address in addresses.items()]
    calls += [known("twin", addresses["p0"]), *(known(f"silent{n}", None) for n in range(SILENT))]
    for start in range(0, len(calls), 100):
        server.send(*calls[start : start + 100])
    stopped = [{"address": addresses[f"p{n}"], "kind": "bounce"} for n in range(PEOPLE - STOPPED, PEOPLE)]
    server.call("POST", "/api/import/suppressions", {"suppressions": stopped})
    return set(addresses.values()) - {one["address"] for one in stopped}


def progress(server: Server, name: str = "black-friday") -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/api/broadcasts/{name}")
    return found


@pytest.mark.slow
def test_paused_in_the_middle_and_resumed_each_address_gets_it_once(server: Server, receiver: Receiver) -> None:
    wanted = populate(server)
    file = str(server.project / "broadcasts" / "black-friday.yaml")
    sent = at(server, "broadcast", file, "--no-follow")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "template black-friday, topic offers" in sent.stdout
    assert "black-friday is running" in sent.stdout

    until(lambda: len(receiver.raw) >= 30, "a tenth of them have it")
    paused = at(server, "broadcasts", "pause", "black-friday", "--reason", "wrong price")
    assert paused.returncode == 0, paused.stderr
    until(lambda: not server.messages(broadcast="black-friday", status="sending"), "what was under way is over")
    reached = len(receiver.raw)
    assert reached < len(wanted), "it was paused before its end"
    listed = at(server, "delivery").stdout
    assert "broadcast black-friday paused since" in listed and "wrong price" in listed
    assert re.search(r"black-friday +paused", at(server, "broadcasts").stdout)
    assert len(receiver.raw) == reached, "nothing leaves while it is paused"

    again = at(server, "broadcast", file)
    assert "was sent before; nobody is mailed again" in again.stdout, again.stderr
    assert at(server, "broadcasts", "resume", "black-friday").returncode == 0
    shown = at(server, "broadcasts", "show", "black-friday", "--follow")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "is finished" in shown.stdout

    assert Counter(receiver.recipients) == Counter(dict.fromkeys(wanted, 1))
    found = progress(server)
    people = found["progress"]["people"]
    assert (found["status"], people["offered"], people["total"]) == (
        "finished",
        PEOPLE + 1 + SILENT,
        PEOPLE + 1 + SILENT,
    )
    assert (
        found["progress"]["messages"]["sent"]
        == len(wanted)
        == len(server.messages(broadcast="black-friday", status="sent"))
    )
    assert people["refused"] == {"no_address": SILENT}
    assert found["progress"]["skipped"] == {"same_address": 1, "suppressed: bounce": STOPPED}


def test_a_notice_reaches_whom_it_concerns_and_the_all_clear_the_same_people(
    server: Server, receiver: Receiver
) -> None:
    lamp = {"product_id": "23084", "name": "Rabbit Night Light", "price": 2.08, "quantity": 1, "currency": "GBP"}
    bought = {"order_id": "o1", "total": 2.08, "currency": "GBP", "products": [lamp]}
    for name in ("ann", "bob", "cyd"):
        server.send(known(name, f"{name}@people.example"))
    no = {"consent": {"categoryPreferences": {"offers": False, "news": False, "marketing": False}}}
    server.send({"type": "identify", "userId": "ann", "traits": {}, "context": no})
    for name in ("ann", "bob"):
        server.send({"type": "track", "userId": name, "event": "Order Completed", "properties": bought})
    sent = at(server, "broadcast", str(server.project / "broadcasts" / "lamp-recall.yaml"))
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "service notice, to all of whom a condition is true" in sent.stdout

    clear = at(server, "broadcast", "lamp-recall", "--sent-to", "lamp-recall", "--notice", "--name", "All clear")
    assert clear.returncode == 0, clear.stdout + clear.stderr
    recalls = [str(mail["to"]) for mail in receiver.mails() if "unplug" in str(mail["subject"])]
    assert Counter(recalls) == {"ann@people.example": 2, "bob@people.example": 2}


def test_a_draft_mails_nobody_and_mistakes_are_named_with_their_line(
    server: Server, receiver: Receiver, tmp_path: Path
) -> None:
    server.send(known("ann", "ann@people.example"))
    words = ("broadcast", "black-friday", "--everyone", "--topic", "offers", "--id", "bf")
    for drafted in (at(server, *words, "--draft"), at(server, *words)):
        assert "bf is a draft; `heliograph broadcasts start bf` sends it" in drafted.stdout, drafted.stderr
    file = tmp_path / "typo.yaml"
    file.write_text("name: X\ntemplate: black-fridy\naudience:\n  segmnt: buyers\n")
    refused = at(server, "broadcast", str(file))
    assert refused.returncode == 1
    assert f"{file}:2: there is no template 'black-fridy' (did you mean black-friday?)" in refused.stderr
    assert f"{file}:4: " in refused.stderr and "did you mean segment?" in refused.stderr
    assert "nothing was sent" in refused.stderr
    assert "to whom?" in at(server, "broadcast", "black-friday").stderr
    assert not receiver.raw
    started = at(server, "broadcasts", "start", "bf")
    assert started.returncode == 0 and "to everyone: about 1 person" in started.stdout, "it says whom it will reach"
    until(lambda: receiver.to("ann@people.example"), "the draft that was started")
    assert "it is" in at(server, "broadcasts", "resume", "bf").stderr
    assert "did you mean bf?" in at(server, "broadcasts", "show", "bff").stderr


class Silent(Receiver):
    """Takes the first message whole and hangs up without a word; the others it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = threading.Event()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if not self.lost.is_set():
            self.lost.set()
            server.transport.abort()
            return "421 4.0.0 gone"
        return await super().handle_DATA(server, session, envelope)


def test_what_nobody_answered_for_is_listed_and_settled_by_hand(tmp_path: Path) -> None:
    with Silent() as receiver, shop(tmp_path, receiver) as server:
        server.send(known("ann", "ann@people.example"), {"type": "track", "userId": "ann", "event": "Signed Up",
                                                        "properties": {"method": "form"}})  # fmt: skip
        (lost,) = until(lambda: server.messages(status="unknown"), "a message whose fate is open")
        listed = at(server, "messages", "--status", "unknown", "--since", "PT1H").stdout
        assert lost["message_id"] in listed and "ann@people.example" in listed and "release | resend | drop" in listed
        assert "say why" in at(server, "messages", "resend", lost["message_id"]).stderr
        assert "say --yes" in at(server, "messages", "resend", "--all-unknown", "-r", "x").stderr
        resent = at(server, "messages", "resend", "--all-unknown", "--yes", "--reason", "the receiver lost it")
        assert resent.stdout == f"{lost['message_id']}  resent\n", resent.stderr
        until(lambda: receiver.to("ann@people.example"), "the second copy")
        found = until(lambda: server.messages(status="sent"), "its outcome")[0]
        assert (found["message_id"], found["settled"]) == (lost["message_id"], "resend")
        assert at(server, "messages", "drop", lost["message_id"], "-r", "x").returncode == 1
