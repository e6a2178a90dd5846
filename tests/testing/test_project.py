"""What ``heliograph.testing`` promises to whoever writes tests with it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heliograph.ports import BroadcastRefused
from heliograph.project import ProjectError
from heliograph.testing import EventRefused, Person, Project, Request

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
EXACT = ROOT / "examples" / "exact"
Edit = Callable[..., Path]


@pytest.fixture
def shop() -> Project:
    return Project(SHOP)


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """A copy of ``examples/exact`` with some files rewritten (path -> text)."""

    def edit(files: dict[str, str]) -> Path:
        folder = tmp_path / "project"
        shutil.copytree(EXACT, folder, dirs_exist_ok=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    return edit


def subscribed(project: Project) -> Person:
    ann = project.person("ann", email="ann@example.com")
    ann.track("Subscription Started")
    return ann


def test_a_project_with_mistakes_says_all_of_them(edited: Edit) -> None:
    with pytest.raises(ProjectError, match="nobody-wrote-this"):
        Project(edited({"journeys/renewal.yaml": "entry: {event: X}\nsteps: [{send: nobody-wrote-this}]\n"}))


def test_the_how_to_runs_as_it_is_printed(shop: Project) -> None:
    page = (ROOT / "docs" / "how-to" / "test-your-journeys.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Callable[[Project], None]] = {}
    exec(code, names)  # noqa: S102
    names["test_an_order_ends_the_reminders"](shop)


def test_mail_is_what_its_recipient_sees(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com", firstName="Ann & Co")
    ann.track("Signed Up")
    mail = ann.last_mail
    assert mail.template == "welcome"
    assert mail.to == "ann@example.com"
    assert mail.sender == "The Quay Gift Shop <hello@shop.example>"
    assert "Ann & Co" in mail.text
    assert "Ann &amp; Co" in mail.html
    assert any(link.startswith("http") and "/c/" not in link for link in mail.links)
    assert "/u/" in mail.unsubscribe_url
    assert mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_a_click_on_a_link_that_is_not_there_says_which_are(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com")
    ann.track("Signed Up")
    with pytest.raises(LookupError, match="it leads to"):
        ann.clicks(link="no-such-place")


def test_who_got_no_mail_has_a_reason_instead_of_a_last_mail(shop: Project) -> None:
    ann = shop.person("ann")
    ann.track("Signed Up")
    with pytest.raises(LookupError, match="no email address is known"):
        _ = ann.last_mail


def test_names_that_do_not_exist_are_answered_with_the_nearest(shop: Project) -> None:
    with pytest.raises(LookupError, match="did you mean welcome"):
        shop.person("ann", email="a@example.com").why("welcom")


def test_a_receiver_that_puts_us_off_is_tried_again(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com")
    shop.receiver_says("ann@example.com", "450 4.2.0 later")
    ann.track("Signed Up")
    assert ann.unsent == ["welcome: queued, 450 4.2.0 later"]
    shop.receiver_says("ann@example.com", "250 ok")
    shop.advance("PT1H")
    assert ann.mails == ["welcome"]


def test_a_connection_that_breaks_leaves_it_unknown(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com")
    shop.receiver_says("ann@example.com", "")
    ann.track("Signed Up")
    assert ann.unsent == ["welcome: unknown, the connection broke after the final dot"]


def test_a_repeated_call_is_a_duplicate(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com")
    said = [ann.track("Signed Up", message_id="m1") for _ in range(2)]
    assert said == ["accepted", "duplicate"]


def test_a_refused_call_in_a_batch_is_an_error_and_the_others_count(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com")
    with pytest.raises(EventRefused, match="quantity"), shop.batch():
        ann.track("Product Added", product_id="p", quantity="two")
        ann.track("Signed Up")
    assert ann.mails == ["welcome"]


def test_durations_are_real_ones_unless_the_projects_scale_is_asked_for(edited: Edit) -> None:
    text = (EXACT / "heliograph.toml").read_text().replace("[collect]", "time_scale = 3600\n[collect]", 1)
    folder = edited({"heliograph.toml": text})
    real, scaled = Project(folder), Project(folder, time_scale=None)
    for project in (real, scaled):
        subscribed(project)
        project.advance("PT12M")
    assert (real.mails, scaled.mails) == ([], ["renewal"])


def test_time_goes_forward_only_and_by_what_can_be_counted(shop: Project) -> None:
    with pytest.raises(ValueError, match="is over"):
        shop.advance_to("2026-05-31T00:00:00Z")
    with pytest.raises(ValueError, match="advance_to"):
        shop.advance("P1M")


def test_a_published_edit_leaves_runs_under_way_in_their_steps(edited: Edit) -> None:
    project = Project(EXACT)
    ann = subscribed(project)
    shorter = (EXACT / "journeys/renewal.yaml").read_text().replace("P30D", "P10D")
    project.publish(edited({"journeys/renewal.yaml": shorter}))
    bob = project.person("bob", email="bob@example.com")
    bob.track("Subscription Started")
    project.advance("P10D")
    assert (ann.mails, bob.mails) == ([], ["renewal"])
    project.advance("P20D")
    assert ann.mails == ["renewal"]


WEBHOOK = """
name: renewal
topic: news
entry: {event: Subscription Started}
steps:
  - webhook: {url: "https://crm.example/score", method: POST, json: {id: "{{ profile.id }}"}, as: crm, timeout: PT5S,
              else: exit}
  - branch:
      - {if: {trait: {path: plan, is: never}}, then: exit}
      - {else: [{send: renewal}]}
"""


def test_a_webhook_is_answered_by_the_test(edited: Edit) -> None:
    project = Project(edited({"journeys/renewal.yaml": WEBHOOK}))
    project.answers("https://crm.example/", {"score": 7})
    ann = subscribed(project)
    assert project.requests == [Request("https://crm.example/score", "POST", {"id": "ann"})]
    assert ann.mails == ["renewal"]


def test_a_webhook_that_fails_for_now_is_asked_again_and_then_given_up(edited: Edit) -> None:
    project = Project(edited({"journeys/renewal.yaml": WEBHOOK}))
    replies = iter([503, 503, {"score": 1}])
    project.answers("https://crm.example/score", lambda _: next(replies))
    ann = subscribed(project)
    project.advance("P1D")
    assert len(project.requests) == 3
    assert ann.mails == ["renewal"]

    project.answers("https://crm.example/score", 503)
    bob = project.person("bob", email="bob@example.com")
    bob.track("Subscription Started")
    project.advance("P30D")
    assert bob.mails == []
    assert not bob.in_journey("renewal")


def test_an_answer_that_a_server_would_not_read_is_none_here_either(edited: Edit) -> None:
    project = Project(edited({"journeys/renewal.yaml": WEBHOOK}))
    project.answers("https://crm.example/score", {"score": "x" * 70_000})
    assert subscribed(project).mails == []
    assert len(project.requests) == 1


def test_a_webhook_that_nobody_answers_is_an_error_that_says_what_to_do(edited: Edit) -> None:
    project = Project(edited({"journeys/renewal.yaml": WEBHOOK}))
    with pytest.raises(LookupError, match=r'project\.answers\("https://crm\.example/score"'):
        subscribed(project)


def test_the_api_asks_people_in(edited: Edit) -> None:
    entered = (EXACT / "journeys/renewal.yaml").read_text().replace("event: Subscription Started", "api: true")
    project = Project(edited({"journeys/renewal.yaml": entered}))
    ann = project.person("ann", email="ann@example.com")
    assert ann.enters("renewal") == "started"
    assert ann.enters("renewal") == "refused"
    project.advance("P30D")
    assert ann.mails == ["renewal"]


def test_lists_and_suppressions(edited: Edit) -> None:
    project = Project(edited({"segments/not-buying.yaml": "name: not-buying\nif: {in_segment: friends}\n"}))
    ann = project.person("ann", email="ann@example.com")
    ann.joins("friends")
    assert ann.segments == ["friends", "not-buying"]
    ann.leaves("friends")
    assert ann.segments == []
    project.suppress("Ann@Example.com")
    ann.track("Trial Started", trial_id="t")
    assert ann.unsent == ["trial-started: skipped, suppressed: manual"]


def test_a_broadcast_reaches_its_audience_and_says_how_far_it_is(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com", consent={"offers": True})
    bob = shop.person("bob", email="bob@example.com")
    template = next(name for name, one in shop._crank.plan.templates.items() if _is_plain(one))
    letter = shop.broadcast(template=template, topic="offers", audience={"everyone": True}, at="2026-06-01T12:00:00Z")
    assert (letter.status, ann.mails) == ("scheduled", [])
    shop.advance("PT4H")
    assert (letter.status, ann.mails, bob.mails) == ("finished", [template], [])
    assert letter.progress["skipped"] == {"no_consent: offers": 1}
    assert "no consent for the topic 'offers'" in bob.why(f"broadcast:{letter.id}")
    assert "no consent" in bob.why(template=template)
    with pytest.raises(BroadcastRefused, match="it is finished"):
        letter.pause()


def _is_plain(template: dict[str, Any]) -> bool:
    """Marketing that needs no event."""
    return template["class"] == "marketing" and "event" not in str(template.get("paths"))


def test_a_timeline_tells_everything(shop: Project) -> None:
    ann = shop.person("ann", email="ann@example.com")
    ann.track("Signed Up")
    kinds = [line.split()[1] for line in ann.timeline().splitlines()]
    assert kinds[-5:] == ["run_started", "message_decided", "message_outcome", "run_step", "run_ended"]
