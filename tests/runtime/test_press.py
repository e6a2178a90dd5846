"""The press: settings and a job in, a parcel out."""

import msgspec
import pytest

from heliograph.deliver.routes import single
from heliograph.render import LinkKeys, Skip, compile_template, read_verp
from heliograph.runtime import mailer_press
from heliograph.runtime.mailer_press import Press
from heliograph.runtime.mailwire import Job, MailerSender, MailerSettings
from tests.render.kit import parsed

ID = "abcdefghijklmnopqrstuvwxya"
SECRETS = {"1": b"a secret of 24 octets ...", "2": b"the one that signs now .."}
FILES = {"terms.txt": b"Terms."}
TEMPLATE = compile_template("cart", {"subject": "Hello", "attachments": ["terms.txt"]}, "<p>x</p>", "html", None, FILES)
SENDER = MailerSender(from_="Shop <hello@shop.example>", return_path="bounce@mail.shop.example")


def settings(sender: MailerSender) -> MailerSettings:
    return MailerSettings(
        routes=single("smtp://127.0.0.1:25", 1), senders={"default": sender}, base_url="https://mail.shop.example",
        link_keys=SECRETS, project="gift-shop",
    )  # fmt: skip


def job(**changes: object) -> Job:
    made = Job(
        message_id=ID, template="cart", template_version=TEMPLATE["version"], address="ana@example.com",
        context={"profile": {}}, created_at=0, not_after=0, topic="offers", key="u:1", campaign="cart-recovery",
        route="direct", receiver="example.com",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def press(sender: MailerSender = SENDER) -> Press:
    template = msgspec.msgpack.decode(msgspec.msgpack.encode(TEMPLATE))  # as it comes over the socket
    return Press(settings(sender), [template])


def test_a_parcel_says_whose_it_is_where_bounces_go_and_which_way() -> None:
    parcel = press().print(job(), 1_790_000_000_000)
    assert (parcel.message_id, parcel.recipient) == (ID, "ana@example.com")
    assert (parcel.route, parcel.receiver) == ("direct", "example.com")
    assert read_verp(parcel.sender, LinkKeys({int(number): secret for number, secret in SECRETS.items()})) == ID
    mail = parsed(parcel.data)
    assert mail["Feedback-ID"] == "campaign.cart-recovery:template.cart:class.marketing:gift-shop"
    assert mail["List-Id"] == "<offers.shop.example>"
    assert [one.get_content() for one in mail.iter_attachments()] == ["Terms."]


def test_without_a_return_path_bounces_go_to_the_sender() -> None:
    assert press(msgspec.structs.replace(SENDER, return_path="")).print(job(), 0).sender == "hello@shop.example"


@pytest.mark.parametrize("path", ["no address", "a+b@mail.shop.example", "böunce@mail.shop.example"])
def test_a_return_path_that_cannot_work_stops_the_mailer_at_its_start(path: str) -> None:
    with pytest.raises(ValueError, match=r"return_path|no email address"):
        press(msgspec.structs.replace(SENDER, return_path=path))


def test_a_message_whose_template_or_sender_is_gone_is_skipped_with_the_name() -> None:
    with pytest.raises(Skip, match="no_template: cart@gone"):
        press().print(job(template_version="gone"), 0)
    alone = Press(msgspec.structs.replace(settings(SENDER), senders={}), [TEMPLATE])
    with pytest.raises(Skip, match="no_sender: default"):
        alone.print(job(), 0)


def test_templates_of_earlier_plans_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By count and by the weight of their files; the plan in force is whole in any case."""
    heavy = {name: {**TEMPLATE, "version": name, "attachments": [{"data": "x" * 400}]} for name in "abcde"}
    monkeypatch.setattr(mailer_press, "KEPT_BYTES", 1_000)
    running = press()
    for one in heavy.values():
        running.learn([one])
    assert [version for _, version in running._templates] == ["d", "e"]
    running.learn(heavy.values())
    assert [version for _, version in running._templates] == [*"abcde"]
    monkeypatch.setattr(mailer_press, "KEPT_TEMPLATES", 2)
    running.learn([TEMPLATE])
    assert [version for _, version in running._templates] == ["e", TEMPLATE["version"]]
