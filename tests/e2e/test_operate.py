"""Running a server day by day: publish, import, ask why, repair, restart. Through the command and the API only."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import TOKEN, Receiver, Server, shop, until
from tests.ports import free_port


def heliograph(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heliograph.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **environment},
    )


def at(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that talks to this server."""
    return heliograph(*arguments, "--project", str(server.project), "--url", server.url, "--token", TOKEN)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def server(receiver: Receiver, tmp_path: Path) -> Iterator[Server]:
    with shop(tmp_path, receiver, HELIOGRAPH_PROJECT_TIME_SCALE="600") as server:
        yield server


def person(name: str) -> dict[str, object]:
    traits = {"email": f"{name}@buyers.example", "firstName": "Ada", "country": "DE"}
    consent = {"categoryPreferences": {"offers": True}}
    return {"type": "identify", "userId": name, "traits": traits, "context": {"consent": consent}}


def signed_up(name: str) -> dict[str, object]:
    return {"type": "track", "userId": name, "event": "Signed Up", "properties": {"method": "form"}}


def test_the_next_message_uses_a_published_change_and_waiting_runs_go_on(server: Server, receiver: Receiver) -> None:
    added = {"cart_id": "p", "product_id": "1", "name": "Bunting", "price": 4.95, "quantity": 1, "currency": "GBP"}
    server.send(
        person("waiting"), {"type": "track", "userId": "waiting", "event": "Product Added", "properties": added}
    )
    message = server.project / "templates" / "welcome" / "message.yaml"
    message.write_text(message.read_text().replace("subject:", "subject: A new subject  # "))
    (server.project / "segments" / "germans.yaml").write_text("name: germans\nif:\n  trait: {path: country, is: DE}\n")
    planned = at(server, "plan")
    assert "+ segment germans" in planned.stdout, planned.stdout + planned.stderr
    assert "~ template welcome" in planned.stdout
    assert server.get("/api/plan")["version"] == 1, "plan changes nothing"
    applied = at(server, "apply")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert server.get("/api/plan")["version"] == 2
    server.send(person("later"), signed_up("later"))
    (mail,) = until(lambda: receiver.to("later@buyers.example"), "the welcome mail")
    assert str(mail["subject"]) == "A new subject"
    until(lambda: receiver.to("waiting@buyers.example"), "the reminder of the run that waited over the publish")
    until(lambda: server.get("/api/segments/germans/members")["count"] == 2, "the sweep sets the new segment")
    reach = {one["name"]: one["complete_since"] for one in server.get("/api/segments")["segments"]}
    assert reach["germans"] is None and reach["buyers"] is None, "traits have no past to be read, and buyers is not new"

    back = at(server, "apply", "--version", "1")
    assert back.returncode == 0, back.stdout + back.stderr
    server.send(person("back"), signed_up("back"))
    (mail,) = until(lambda: receiver.to("back@buyers.example"), "the welcome mail")
    assert str(mail["subject"]) != "A new subject"


def test_a_broken_project_is_refused_and_the_old_plan_stays(server: Server) -> None:
    journey = server.project / "journeys" / "welcome.yaml"
    journey.write_text(journey.read_text().replace("event: Signed Up", "evnt: Signed Up"))
    applied = at(server, "apply")
    assert applied.returncode != 0
    said = applied.stdout + applied.stderr
    assert "journeys/welcome.yaml:" in said
    assert "event" in said
    document = server.get("/api/plan")["document"]
    document["journeys"]["welcome"]["entry"] = {"evnt": "Signed Up"}
    document.pop("pinned", None)
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.call("POST", "/api/plan", {"document": document})
    assert refused.value.code == 422
    assert server.get("/api/plan")["version"] == 1


def test_an_import_lists_bad_rows_triggers_nothing_and_a_second_one_changes_nothing(
    server: Server, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "customer,mail,name\ni-1,one@imports.example,One\ni-2,not-an-address,Two\ni-3,three@imports.example,Three\n,,\n"
    )
    arguments = ("import", str(file), "--map", "customer=user_id", "--map", "mail=email", "--map", "name=firstName",
                 "--topic", "offers", "--consent-source", "old shop, checkout box")  # fmt: skip
    first = at(server, *arguments)
    said = first.stdout + first.stderr
    assert "people.csv:3:" in said, said
    assert "not-an-address" in said
    assert "2 imported" in said
    profile = server.get("/api/profiles/one@imports.example")
    assert profile["traits"]["firstName"] == "One"
    assert profile["consent"]["topics"]["offers"]["given"] is True
    assert profile["consent"]["topics"]["offers"]["source"] == "old shop, checkout box"

    second = at(server, *arguments)
    assert "0 imported" in second.stdout + second.stderr
    assert server.get("/api/profiles/i-1")["traits"] == profile["traits"]
    assert not server.messages()
    assert not receiver.to("one@imports.example")


def test_an_imported_yes_does_not_undo_an_unsubscribe(server: Server, tmp_path: Path) -> None:
    server.send(person("gone"))
    no = {"consent": {"categoryPreferences": {"offers": False}}}
    server.send({"type": "identify", "userId": "gone", "traits": {}, "context": no})
    file = tmp_path / "people.csv"
    file.write_text("user_id,email\ngone,gone@buyers.example\n")
    at(server, "import", str(file), "--topic", "offers", "--consent-source", "an old list")
    assert server.get("/api/profiles/gone")["consent"]["topics"]["offers"]["given"] is False


def test_a_static_list_counts_in_conditions_and_has_members(server: Server, tmp_path: Path) -> None:
    server.send(person("listed"))
    file = tmp_path / "list.csv"
    file.write_text("user_id\nlisted\n")
    done = at(server, "import", str(file), "--kind", "list", "--list", "regulars")
    assert done.returncode == 0, done.stdout + done.stderr
    members = server.get("/api/segments/regulars/members")
    assert ([member["profile_id"] for member in members["members"]], members["count"]) == (["listed"], 1)


def test_why_answers_for_anybody_and_names_near_misses(server: Server) -> None:
    server.send(person("curious"))
    never = at(server, "why", "curious", "--journey", "welcome")
    assert never.returncode == 0, never.stderr
    assert "Signed Up" in never.stdout
    wrong_journey = at(server, "why", "curious", "--journey", "welcom")
    assert wrong_journey.returncode != 0
    assert "did you mean welcome" in wrong_journey.stdout + wrong_journey.stderr
    wrong_person = at(server, "why", "curiuos", "--journey", "welcome")
    assert "did you mean curious" in wrong_person.stdout + wrong_person.stderr
    by_mail = at(server, "why", "curious@buyers.example", "--template", "welcome")
    assert by_mail.returncode == 0, by_mail.stderr


def test_what_a_schema_rejects_can_be_repaired_and_replayed(server: Server, receiver: Receiver) -> None:
    bad = {
        "type": "track",
        "userId": "dl",
        "event": "Order Completed",
        "messageId": "dl-1",
        "properties": {"total": "ten"},
    }
    (result,) = server.send(bad)
    assert result["status"] == "dead_letter"
    assert result["reason"]
    (letter,) = server.get("/api/dead-letters")["dead_letters"]
    products = [{"product_id": "1", "name": "Bunting", "price": 4.95, "quantity": 2}]
    good = {**bad, "properties": {"order_id": "o-77", "total": 9.9, "currency": "GBP", "products": products}}
    server.send(person("dl"))
    answer = server.call("POST", "/api/dead-letters/replay", {"ids": [letter["id"]], "repaired": {letter["id"]: good}})
    assert [one["status"] for one in answer["results"]] == ["accepted"]
    until(lambda: receiver.to("dl@buyers.example"), "the confirmation of the repaired order")


def test_a_suppressed_address_gets_nothing_until_it_is_let_go(server: Server, receiver: Receiver) -> None:
    server.send(person("stopped"))
    server.call("PUT", "/api/suppressions/stopped@buyers.example", {})
    server.send(signed_up("stopped"))
    (message,) = until(lambda: server.messages(profile="stopped"), "the decision")
    assert message["status"] == "skipped"
    assert "suppressed" in message["reason"]


def test_send_test_prints_the_verdict_of_the_relay(server: Server, receiver: Receiver) -> None:
    server.send(person("tester"))
    sent = at(server, "send-test", "welcome", "--to", "me@buyers.example", "--profile", "tester")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "250" in sent.stdout
    assert receiver.to("me@buyers.example")


def test_a_restart_keeps_everything_and_fires_what_fell_due(receiver: Receiver, tmp_path: Path) -> None:
    added = {"cart_id": "r", "product_id": "1", "name": "Bunting", "price": 4.95, "quantity": 1, "currency": "GBP"}
    with shop(tmp_path, receiver, HELIOGRAPH_PROJECT_TIME_SCALE="600") as server:
        server.send(person("restarted"), {"type": "track", "userId": "restarted", "event": "Product Added",
                                          "properties": added})  # fmt: skip
        assert server.stop() == 0
        time.sleep(3.2)
        server.start()
        until(lambda: receiver.to("restarted@buyers.example"), "the reminder that fell due meanwhile")
        assert server.get("/api/profiles/restarted")["traits"]["country"] == "DE"


def test_a_second_process_on_the_same_data_says_so_plainly(server: Server) -> None:
    second = heliograph(
        "serve", "--project", str(server.project), "--data", str(server.data), "--port", str(free_port())
    )
    assert second.returncode != 0
    said = second.stdout + second.stderr
    assert str(server.data) in said
    assert "Traceback" not in said


def test_a_port_in_use_and_a_read_only_folder_are_said_plainly(server: Server, tmp_path: Path) -> None:
    taken = heliograph("demo", "--no-traffic", "--port", str(server.port), "--smtp-port", "0")
    assert taken.returncode == 1
    assert f"port {server.port} is in use" in taken.stdout + taken.stderr
    unwritable = heliograph("demo", "--no-traffic", "--port", "0", "--smtp-port", "0", "--data", "/proc/nowhere")
    assert unwritable.returncode == 1
    said = unwritable.stdout + unwritable.stderr
    assert "/proc/nowhere" in said
    assert "Traceback" not in said


def test_the_api_asks_for_its_token_and_describes_itself(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(server.url + "/api/messages", timeout=10)
    assert refused.value.code == 401
    problem = json.loads(refused.value.read())
    assert problem["status"] == 401
    assert "openapi" in server.get("/api/openapi.json")
