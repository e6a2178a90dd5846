"""The fields that say which mail this is: Feedback-ID and List-Id."""

import re

from hypothesis import given
from hypothesis import strategies as st

from heliograph.render.letterhead import feedback_id, label
from tests.render.kit import compiled, parsed, rendered

names = st.text(st.characters(), min_size=1, max_size=100)


@given(names, names, names)
def test_a_feedback_id_has_four_fields_and_a_sender_of_5_to_15_characters(
    campaign: str, template: str, sender: str
) -> None:
    written = feedback_id(campaign, template, "marketing", sender)
    assert re.fullmatch(r"[a-z0-9.-]+(:[a-z0-9.-]+){3}", written)
    *identifiers, own = written.split(":")
    assert 5 <= len(own) <= 15
    assert len({*identifiers, own}) == 4
    assert all(len(identifier) <= 75 for identifier in identifiers)


@given(names)
def test_a_label_is_one_of_a_domain(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", label(name))
    assert len(label(name)) <= 63


def test_a_message_says_its_campaign_and_its_list_and_nothing_of_the_person() -> None:
    mail = parsed(rendered(campaign="Cart Recovery", project="shop").data)
    assert re.fullmatch(
        r"campaign\.cart-recovery:template\.greeting:class\.marketing:shop-[a-z2-7]{6}", mail["Feedback-ID"]
    )
    assert mail["List-Id"] == "<offers.shop.example>"
    other = parsed(rendered(campaign="Cart Recovery", project="shop", to="bob@example.com", key="u:bob").data)
    assert (other["Feedback-ID"], other["List-Id"]) == (mail["Feedback-ID"], mail["List-Id"])


def test_a_receipt_is_no_list_mail() -> None:
    mail = parsed(rendered(compiled(**{"class": "transactional"}), topic=None, project="giftshop").data)
    assert mail["Feedback-ID"] == "template.greeting:class.transactional:giftshop"
    assert mail["List-Id"] is None


def test_two_senders_of_one_template_do_not_share_a_letterhead() -> None:
    first, second = rendered(), rendered(from_="Other <other@b.example>", postal_address="Elsewhere 1")
    assert parsed(second.data)["From"] == "Other <other@b.example>"
    assert parsed(first.data)["From"] == "Gift Shop <hello@shop.example>"
    assert "Elsewhere 1" in second.text
    assert "Elsewhere 1" not in first.text
