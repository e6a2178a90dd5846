"""Receivers are told by settings, domains and MX; what is built in is tested against the replies it is for."""

import pytest

from heliograph.deliver.limits import ACTIONS, Limits, Receiver, Rule
from heliograph.deliver.rates import parse
from heliograph.deliver.receivers import KEPT, Receivers
from heliograph.deliver.replies import condemns_address, outcome
from heliograph.deliver.replies import parse as parse_reply
from heliograph.deliver.wellknown import ANYBODY, RECEIVERS

BUILT_IN = [(name, rule) for name, known in RECEIVERS.items() for rule in known.rules] + [("x.org", r) for r in ANYBODY]
named = pytest.mark.parametrize(("name", "rule"), BUILT_IN, ids=lambda one: one if isinstance(one, str) else one.match)


@named
def test_each_built_in_rule_is_the_first_to_match_its_example_and_says_where_it_is_from(name: str, rule: Rule) -> None:
    assert Receivers().rule(name, rule.example) == rule
    assert rule.source and rule.action in ACTIONS
    assert parse(rule.rate) is not None or not rule.rate
    assert (rule.for_ms > 0) == (rule.action != "pass")


@named
def test_no_reply_about_us_ever_condemns_an_address(name: str, rule: Rule) -> None:
    reply = parse_reply(rule.example)
    for stage in ("mail", "rcpt", "data", "dot"):
        assert not condemns_address(stage, reply.code, reply.enhanced, reply.text), name


@named
def test_built_in_rules_are_about_refusals(name: str, rule: Rule) -> None:
    assert outcome(parse_reply(rule.example).code) != "sent", name


def test_no_domain_and_no_end_of_a_host_name_belongs_to_two_receivers() -> None:
    domains = [domain for known in RECEIVERS.values() for domain in known.domains]
    ends = [end for known in RECEIVERS.values() for end in known.mx]
    assert len(domains) == len(set(domains)) and len(ends) == len(set(ends))
    assert all(domain == domain.lower() for domain in domains) and all(end.startswith(".") for end in ends)
    assert all(known.source for known in RECEIVERS.values())


def test_settings_go_before_what_everybody_knows() -> None:
    receivers = Receivers({"mine": Receiver(domains=("Gmail.com",)), "hoster": Receiver(mx=("mx.hoster.net",))})
    assert receivers.of("gmail.com") == "mine" and receivers.of("googlemail.com") == "gmail"
    assert receivers.learn("shop.example", ["mx1.mx.hoster.net"]) == "hoster"


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        (["aspmx.l.google.com", "alt1.aspmx.l.google.com"], "gmail"),
        (["shop-example.mail.protection.outlook.com"], "microsoft365"),
        (["x.olc.protection.outlook.com."], "outlook"),
        (["mx0a-00.pphosted.com"], "proofpoint"),
        (["eu-smtp-inbound-1.mimecast.com"], "mimecast"),
        (["MX1.Small.Host", "mx2.small.host"], "mx1.small.host"),
        (["evilgoogle.com"], "evilgoogle.com"),
        ([], "shop.example"),
    ],
)
def test_domains_roll_up_by_their_mx(hosts: list[str], name: str) -> None:
    receivers = Receivers()
    assert receivers.of("shop.example") == "shop.example" and receivers.unknown("shop.example")
    assert receivers.learn("shop.example", hosts) == name == receivers.of("shop.example")
    assert not receivers.unknown("shop.example")
    receivers.forget("shop.example")
    assert receivers.unknown("shop.example") and receivers.of("shop.example") == "shop.example"


def test_what_is_learned_is_bounded_and_the_oldest_goes() -> None:
    receivers = Receivers()
    for n in range(KEPT + 5):
        receivers.learn(f"d{n}.example", ["mx.one.host"])
    assert receivers.unknown("d4.example") and not receivers.unknown("d5.example")


def test_a_table_of_its_own_then_what_is_known_then_default_field_by_field() -> None:
    told = {"gmail": Receiver(max_message_rate="7/s"), "default": Receiver(connection_limit=2, max_message_rate="1/s")}
    assert Receivers(told, direct=True).limits("gmail") == Limits(
        max_message_rate="7/s", connection_limit=5, max_deliveries_per_connection=50
    )
    assert Receivers(told).limits("gmail").connection_limit == 2, "through a relay nothing built in holds"
    assert Receivers(told, direct=True).limits("x.org") == Limits(max_message_rate="1/s", connection_limit=2)


def test_rules_of_the_settings_are_asked_first() -> None:
    own = Rule("unusual rate", "suspend", 1000)
    anybody = Rule("frobnicate", "slow", 2000)
    receivers = Receivers({"gmail": Receiver(rules=(own,)), "default": Receiver(rules=(anybody,))})
    assert receivers.rule("gmail", "421 4.7.28 UNUSUAL RATE of mail") == own
    assert receivers.rule("gmail", "421 frobnicate") == anybody == receivers.rule("x.org", "450 Frobnicate!")
    assert receivers.rule("x.org", "450 4.2.2 mailbox full") is None
