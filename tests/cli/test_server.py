"""Commands against a running server."""

import io
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .conftest import SHOP, Run


def api(server: str, path: str) -> Any:
    request = urllib.request.Request(f"{server}/api{path}", headers={"Authorization": "Bearer demo-token"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_consent_for_a_topic_that_nothing_asks_is_refused(run: Run, server: str, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("user_id,email,consent.ofers\nt1,t1@people.example,true\n")
    said = run("import", file, "--url", server)
    assert (said.code, said.err) == (1, "there is no topic 'ofers' in the published plan; did you mean offers?\n")
    said = run("import", file, "--url", server, "--map", "consent.ofers=-", "--topic", "x", "--consent-source", "fair")
    assert "there is no topic 'x' in the published plan; there are: marketing" in said.err


def unsubscribe(server: str, person: str, topic: str) -> None:
    body = json.dumps(
        {
            "userId": person,
            "context": {"consent": {"categoryPreferences": {topic: False}}},
            "writeKey": "demo-write-key",
        }
    )
    request = urllib.request.Request(f"{server}/v1/identify", body.encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


PEOPLE = """\
user_id,email,firstName,score,consent.news
i1,ada@people.example,Ada,5,true
i2,not-an-address,Bob,6,false
i3,cyd@people.example,Cyd,007,false
,,Nobody,1,true
i4
"""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE)
    return file


def test_people_come_in_once_with_consent_and_bad_rows_are_named(run: Run, server: str, people: Path) -> None:
    words = ("import", people, "--url", server, "--topic", "offers", "--consent-source", "checkout 2024")
    said = run(*words)
    assert (said.code, said.out) == (0, "2 imported, 3 bad rows, not imported\n")
    assert said.err.splitlines() == [
        f"{people}:3: 'not-an-address' is not an email address",
        f"{people}:5: no user_id, anonymous_id or email: whose is it?",
        f"{people}:6: 1 values for 5 columns",
    ]
    profile = api(server, "/profiles/i1")
    assert profile["traits"] == {"email": "ada@people.example", "firstName": "Ada", "score": 5}
    assert api(server, "/profiles/cyd@people.example")["traits"]["score"] == "007"
    timeline = api(server, "/profiles/i1/timeline")
    assert run(*words).out == "0 imported, 2 were there already, 3 bad rows, not imported\n"
    assert api(server, "/profiles/i1") == profile
    assert api(server, "/profiles/i1/timeline") == timeline
    assert not profile["runs"]


def test_strict_makes_a_bad_row_a_failure(run: Run, server: str, people: Path) -> None:
    assert run("import", people, "--url", server, "--strict").code == 1


def test_an_imported_grant_does_not_override_a_withdrawal(run: Run, server: str, tmp_path: Path) -> None:
    unsubscribe(server, "w1", "offers")
    file = tmp_path / "grants.csv"
    for round in ("first", "second"):
        file.write_text(f"user_id,email,round\nw1,w1@people.example,{round}\n")
        run("import", file, "--url", server, "--topic", "offers", "--consent-source", "old list")
        assert api(server, "/profiles/w1")["consent"]["topics"]["offers"]["given"] is False
        said = run("why", "w1", "--url", server, "--template", "cart-reminder")
        assert "no consent for the topic 'offers'" in said.out


def test_lists_count_each_person_once(run: Run, server: str, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("email\na@list.example\nnobody\nb@list.example\na@list.example\n")
    words = ("import", file, "--kind", "list", "--list", "beta", "--url", server)
    assert run(*words).out == "2 imported, 1 was there already, 1 bad row, not imported\n"
    assert run(*words).out == "0 imported, 3 were there already, 1 bad row, not imported\n"
    assert api(server, "/segments/beta/members")["count"] == 2


def test_suppressions_are_normalised_and_known_the_second_time(run: Run, server: str, tmp_path: Path) -> None:
    file = tmp_path / "stop.csv"
    file.write_text("email,reason\nStop@Example.COM ,asked by phone\nbad,\n")
    words = ("import", file, "--kind", "suppressions", "--url", server)
    assert run(*words).out == "1 imported, 1 bad row, not imported\n"
    assert run(*words).out == "0 imported, 1 was there already, 1 bad row, not imported\n"
    [row] = [one for one in api(server, "/suppressions")["suppressions"] if one["address"] == "stop@example.com"]
    assert (row["kind"], row["source"], row["reason"]) == ("manual", "import", "asked by phone")


def test_past_events_update_segments_and_start_nothing(run: Run, server: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    order = {"order_id": "o1", "total": 5, "products": []}
    call = {"type": "track", "userId": "past", "event": "Order Completed", "properties": order}
    file.write_text(json.dumps({**call, "timestamp": "2026-09-01T10:00:00Z"}) + "\n" + json.dumps(call) + "\n")
    said = run("import", file, "--kind", "events", "--url", server)
    assert said.out == "1 imported, 1 bad row, not imported\n"
    assert "no timestamp: when was it?" in said.err
    profile = api(server, "/profiles/past")
    assert "buyers" in json.dumps(profile["segments"])
    assert profile["runs"] == []
    assert api(server, "/messages?profile=past")["messages"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--topic", "offers"], "--topic needs --consent-source"),
        (["--kind", "list"], "--kind list needs --list NAME"),
        (["--kind", "persons"], "--kind is one of people, list, suppressions, events"),
        (["--consent-at", "yesterday"], "no RFC 3339 instant"),
        (["--map", "nope=email"], "there is no column nope"),
    ],
)
def test_import_says_what_it_needs(run: Run, server: str, people: Path, words: list[str], said: str) -> None:
    result = run("import", people, "--url", server, *words)
    assert result.code == 1
    assert said in result.err


def test_why_is_prose_and_names_near_misses(run: Run, server: str, people: Path) -> None:
    run("import", people, "--url", server)
    said = run("why", "ada@people.example", "--journey", "win-back", "--url", server)
    assert said.code == 0
    assert "lapsed-buyers" in said.out
    assert "✗" in said.out
    assert run("why", "i1", "--journey", "winback", "--url", server).err.rstrip().endswith("did you mean win-back?")
    assert "nobody is known as 'i99'" in run("why", "i99", "--url", server).err
    everything = run("why", "i1", "--url", server)
    assert "i1 (ada@people.example)" in everything.out
    assert "cart-recovery" in everything.out


def test_a_wrong_token_or_key_is_said_plainly(run: Run, server: str, people: Path) -> None:
    assert "does not know this token" in run("messages", "--url", server, "--token", "wrong").err
    said = run("import", people, "--url", server, "--write-key", "wrong")
    assert (said.code, "does not know this write key" in said.err) == (1, True)


def test_plan_shows_apply_publishes_and_version_goes_back(run: Run, server: str, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    shutil.copytree(SHOP, project)
    options = ("--project", project, "--url", server)
    assert run("plan", *options).out == "the server has exactly this plan\n"
    (project / "segments" / "dach.yaml").write_text("name: dach\nif: {trait: {path: country, in: [DE, AT, CH]}}\n")
    assert "+ segment dach\n" in run("plan", *options).out
    assert api(server, "/plan")["version"] == 1
    assert run("apply", *options).out.endswith("plan 2 is live\n")
    (project / "segments" / "dach.yaml").write_text("name: dach\nif: {trait: {path: country, within: soon}}\n")
    broken = run("apply", *options)
    assert broken.code == 1
    assert "segments/dach.yaml:2" in broken.out
    assert "nothing was sent" in broken.err
    assert run("plan", "--version", 1, *options).out.endswith("`heliograph apply --version 1` publishes this\n")
    back = run("apply", "--version", 1, *options)
    assert "- segment dach\n" in back.out
    assert back.out.endswith("plan 3 is live\n")
    assert "no plan has the version 77" in run("apply", "--version", 77, *options).err


def test_dead_letters_are_listed_repaired_and_replayed(run: Run, server: str, tmp_path: Path) -> None:
    call = {"type": "track", "userId": "dl", "event": "Order Shipped", "properties": {"order_id": "o1"}}
    body = json.dumps({"batch": [call], "writeKey": "demo-write-key"}).encode()
    request = urllib.request.Request(f"{server}/v1/batch", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["results"][0]["status"] == "dead_letter"
    listed = run("replay", "--url", server)
    [line] = [one for one in listed.out.splitlines() if "Order Shipped" in one]
    name = line.split()[0]
    assert run("replay", name, "--url", server).code == 1
    repaired = tmp_path / "repaired.json"
    repaired.write_text(json.dumps({name: {**call, "properties": {"order_id": "o1", "shipment_id": "s1"}}}))
    said = run("replay", "--repaired", repaired, "--url", server)
    assert said == (0, f"{name}  accepted\n", "")


def test_a_second_server_on_the_same_data_or_port_says_so(server: str, tmp_path: Path) -> None:
    port = server.rpartition(":")[2]
    command = [sys.executable, "-m", "heliograph.cli", "serve", "--project", SHOP, "--data", tmp_path, "--port", port]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_send_test_of_an_unknown_template_names_the_nearest(run: Run, server: str) -> None:
    said = run("send-test", "welcom", "--to", "a@example.com", "--url", server)
    assert (said.code, said.err) == (1, "no template is called 'welcom'; did you mean welcome?\n")


def test_messages_of_an_unknown_status_name_the_nearest(run: Run, server: str) -> None:
    said = run("messages", "--status", "snt", "--url", server)
    assert (said.code, said.err) == (1, "no status is called 'snt'; did you mean sent?\n")
    assert run("messages", "--status", "bounced", "--url", server).out == "no messages with the status bounced\n"


def test_plan_says_whom_it_touches_and_apply_keeps_what_waiting_runs_need(
    run: Run, server: str, tmp_path: Path
) -> None:
    project = tmp_path / "shop"
    shutil.copytree(SHOP, project)
    options = ("--project", project, "--url", server)
    mail = project / "templates" / "later"
    shutil.copytree(project / "templates" / "welcome", mail)
    steps = "steps: [{wait: P1D, id: pause}, {wait: P1D}, {send: later}]\n"
    journey = project / "journeys" / "later.yaml"
    journey.write_text("name: later\non_edit: follow\nentry: {event: Later}\n" + steps)
    assert run("apply", *options).code == 0
    for n in range(3):
        track(server, f"later-{n}", "Later")
    (project / "segments" / "late.yaml").write_text("name: late\nif: {did: {event: Later}}\n")
    journey.write_text(journey.read_text().replace("wait: P1D, id: pause", "wait: PT2H, id: pause"))
    said = run("plan", *options).out
    assert "journey later (on_edit: follow): ~pause\n" in said
    assert "3 active runs (3 at pause): 3 move, 0 stay\n" in said
    assert re.search(r"late +added +0 +3\n", said), said
    journey.write_text(journey.read_text().replace("id: pause", "id: rest"))
    assert "3 runs at pause cannot follow: the new version has no step with this id\n" in run("plan", *options).out
    journey.unlink()
    shutil.rmtree(mail)
    assert "= template later (kept for runs of older versions)\n" in run("plan", *options).out
    before = api(server, "/plan")["version"]
    assert run("apply", *options).code == 0
    assert "later" in api(server, "/plan")["document"]["templates"]
    back = run("apply", "--version", before - 1, *options)
    assert "= template later (kept for runs of older versions)\n" in back.out
    assert run("plan", "--version", before - 1, *options).out.endswith("the server has exactly this plan\n")


def track(server: str, user: str, event: str) -> None:
    body = json.dumps({"userId": user, "event": event, "writeKey": "demo-write-key"}).encode()
    request = urllib.request.Request(f"{server}/v1/track", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_an_address_is_stopped_listed_let_go_and_that_is_on_record(run: Run, server: str) -> None:
    options = ("--url", server)
    added = run("suppressions", "add", "Cy@stop.example", "--reason", "asked by phone", *options)
    assert added == (0, "cy@stop.example gets no mail any more\n", "")
    listed = run("suppressions", "--prefix", "cy@", *options).out
    assert re.fullmatch(r"[\d: -]+Z  manual     cy@stop.example  \S+  \(asked by phone\)\n", listed), listed
    run("suppressions", "add", "cy@stop.example", "--kind", "bounce", *options)
    refused = run("suppressions", "remove", "cy@stop.example", *options)
    assert (refused.code, "was stopped by a bounce and a manual: say why" in refused.err) == (1, True)
    left = run("suppressions", "remove", "cy@stop.example", "--kind", "manual", *options).out
    assert left == "cy@stop.example is still stopped\n"
    assert run("suppressions", "remove", "cy@stop.example", "-r", "new mailbox", *options).code == 0
    words = api(server, "/suppressions/cy@stop.example")["words"]
    assert {(word["kind"], word["stopped"], word["reason"]) for word in words} == {
        ("manual", False, ""), ("bounce", False, "new mailbox")
    }  # fmt: skip
    assert run("suppressions", "--prefix", "cy@", *options).out == "no address is stopped\n"
    assert "is one of manual, bounce, complaint" in run("suppressions", "--kind", "spam", *options).err
    assert "behind the word" in run("suppressions", "--url", server, "add", "a@x.example").err


def test_an_export_taken_back_changes_nothing(run: Run, server: str, tmp_path: Path) -> None:
    options = ("--url", server)
    for number, kind in enumerate(("manual", "bounce", "complaint")):
        reason = f'550 "no", said\nline {number}'
        run("suppressions", "add", f"round{number}@stop.example", "--kind", kind, "--reason", reason, *options)
    file, again = tmp_path / "stops.csv", tmp_path / "again.csv"
    said = run("suppressions", "export", file, *options)
    rows = len(file.read_text().splitlines()) - 1
    assert (said.code, said.out) == (0, f"{rows} suppressions in {file}\n")
    took = run("import", file, "--kind", "suppressions", *options)
    assert took.out == f"0 imported, {rows} were there already\n"
    run("suppressions", "export", again, *options)
    assert again.read_text() == file.read_text()
    assert (
        run("suppressions", "export", "-", "--prefix", "round1", *options)
        .out.splitlines()[1]
        .startswith('round1@stop.example,bounce,"550 ""no"", said line 1",')
    )


def test_a_journey_is_paused_listed_and_resumed(run: Run, server: str) -> None:
    options = ("--url", server)
    assert run("pause", *options).out == "no journey is paused\n"
    assert run("pause", "welcome", "--reason", "wrong picture", *options).code == 0
    listed = run("pause", *options).out
    assert re.fullmatch(r"welcome  paused since [\d: -]+Z by \S+: wrong picture\n", listed), listed
    assert "welcome goes on; it was paused since" in run("resume", "welcome", *options).out
    assert run("resume", "welcome", *options).out == "welcome was not paused\n"
    assert run("pause", "welcom", *options).err.endswith("did you mean welcome?\n")


def test_feedback_is_handed_in_from_files_and_from_a_pipe(
    run: Run, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Path(__file__).parents[1] / "deliver" / "reports" / "vacation.eml"
    said = run("feedback", sample, "--recipient", "bounce@shop.example", "--url", server)
    assert said.code == 0, said.err
    assert said.out.startswith(f"{sample}:  unknown  of no message that we know")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sample.read_bytes())))
    assert run("feedback", "--url", server).out.startswith("unknown  of no message")
    assert run("feedback", "nowhere.eml", "--url", server).code == 1
    assert run("feedback", sample, "--url", "http://127.0.0.1:9").code == 75, "the mail server keeps it and comes back"
