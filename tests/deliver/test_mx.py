"""Whose server takes a message."""

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.mx import (
    MAX_HOSTS,
    WHY,
    Site,
    alternating,
    domain_of,
    is_literal,
    may_reach,
    no_way,
    order,
    site,
)
from heliograph.deliver.replies import condemns_address, parse

HOSTS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([f"mx{n}.example" for n in range(8)])), max_size=30)


@given(HOSTS, st.randoms(use_true_random=False))
def test_the_order_keeps_to_preference_and_forgets_nobody(hosts: list[tuple[int, str]], chance: random.Random) -> None:
    found = site(hosts)
    if not hosts:
        assert found == "ourselves"
        return
    assert isinstance(found, Site)
    best = sorted(set(hosts))[:MAX_HOSTS]
    tried = order(found, lambda names: chance.sample(names, len(names)))
    preferences = iter([preference for preference, _ in best])
    assert sorted(tried) == sorted(name for _, name in best)
    assert all((next(preferences), name) in best for name in tried)


@given(HOSTS, st.randoms(use_true_random=False))
def test_domains_with_the_same_servers_are_one_site(hosts: list[tuple[int, str]], chance: random.Random) -> None:
    assert site(hosts) == site(chance.sample(hosts, len(hosts)))
    assert site(hosts) == site([(preference * 10 + 5, name) for preference, name in hosts])


@given(HOSTS)
def test_only_what_is_better_than_we_is_tried(hosts: list[tuple[int, str]]) -> None:
    found = site([*hosts, (3, "us.example")], ours="US.example")
    better = {name for preference, name in hosts if preference < 3}
    if isinstance(found, Site):
        assert {name for group in found.groups for name in group} <= better
    else:
        assert (found, better) == ("ourselves", set())


def test_a_policy_leaves_out_servers_and_may_leave_none() -> None:
    hosts = [(10, "a.example"), (20, "b.example")]
    assert site(hosts, allowed=lambda name: name == "b.example") == Site((("b.example",),), verified=True)
    assert site(hosts, allowed=lambda name: False) == "policy"


@pytest.mark.parametrize("fault", WHY)
def test_only_the_owner_of_a_domain_condemns_addresses(fault: str) -> None:
    """What DNS says may be wrong for a day; a null MX is the owner's word (RFC 7505)."""
    kind, code, enhanced, reply = no_way(fault, "shop.example")
    assert "shop.example" in reply and enhanced in reply
    assert condemns_address("connect", code, enhanced, parse(reply).text) == (fault == "null_mx")
    assert (kind == "retry") == enhanced.startswith("4.")


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("192.0.2.1", False), ("9.9.9.9", True), ("127.0.0.1", False), ("10.1.2.3", False), ("169.254.1.1", False),
        ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False), ("::", False), ("fe80::1", False), ("fe80::1%eth0", False), ("fd00::1", False),
        ("ff02::1", False),
        ("2606:4700::1111", True), ("::ffff:127.0.0.1", False), ("::ffff:9.9.9.9", True), ("64:ff9b::7f00:1", False),
        ("64:ff9b::909:909", True), ("2002:7f00:1::", False), ("what", False), ("", False),
    ],
)  # fmt: skip
def test_mail_goes_to_addresses_of_the_world_only(address: str, reached: bool) -> None:
    assert may_reach(address) == reached


def test_networks_that_were_allowed_are_reached() -> None:
    loopback = [ipaddress.ip_network("127.0.0.0/8")]
    assert may_reach("127.0.0.2", loopback)
    assert may_reach("::ffff:127.0.0.2", loopback)
    assert not may_reach("10.0.0.1", loopback)


def test_families_take_turns() -> None:
    assert alternating(["::1", "::2", "::3", "1.1.1.1"]) == ["::1", "1.1.1.1", "::2", "::3"]
    assert alternating(["1.1.1.1", "2.2.2.2"]) == ["1.1.1.1", "2.2.2.2"]


@pytest.mark.parametrize("domain", ["[192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1"])
def test_a_literal_is_no_domain(domain: str) -> None:
    assert is_literal(domain)
    assert not is_literal("shop.example")
    assert domain_of(f"ada@{domain}") == domain.lower()


def test_the_domain_is_behind_the_last_at() -> None:
    assert domain_of('"a@b"@Shop.Example.') == "shop.example"
