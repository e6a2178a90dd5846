"""Settings of delivery: relays, receivers, senders and the breaker, and what mailers are told of them."""

from pathlib import Path

import pytest

from heliograph.bootstrap.mail import routes
from heliograph.config import ConfigError, Settings, load
from heliograph.deliver.routes import DirectRoute, Reach, RelayRoute
from tests.certificates import Authority

BASE = """[project]
name = "shop"
[collect]
write_key = "public"
[api]
token = "secret"
[smtp]
url = "{url}"
mailers = 2
[sender.default]
from = "Shop <shop@example.com>"
"""


def read(folder: Path, more: str = "", url: str = "smtp://127.0.0.1:1025", **environ: str) -> Settings:
    (folder / "heliograph.toml").write_text(BASE.format(url=url) + more)
    return load(folder, environ)


def complaints(folder: Path, more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, more)
    return [f"{problem}" for problem in caught.value.problems]


def test_one_relay_is_the_way_out_by_default(tmp_path: Path) -> None:
    assert routes(read(tmp_path)).relays == (RelayRoute("default", "smtp://127.0.0.1:1025"),)


def test_further_relays_and_private_certificates(tmp_path: Path) -> None:
    pem = Authority(tmp_path, "ca").file.read_text()
    found = routes(read(tmp_path, '[relay.backup]\nurl = "smtps://b.example"\nca_file = "ca.pem"\nconnections = 3\n'))
    assert found.relays[1] == RelayRoute("backup", "smtps://b.example", 3, pem)
    assert found.connections == 13 and found.direct is None


def test_straight_to_the_receivers(tmp_path: Path) -> None:
    found = routes(read(tmp_path, '[direct]\nehlo = "mail.shop.example"\nstarttls = "required"\n', url="mx:"))
    assert found.relays == () and found.direct == DirectRoute("mail.shop.example", starttls="required")


def test_a_mailer_gets_its_share_of_a_receiver_and_at_least_one_connection(tmp_path: Path) -> None:
    text = '[receiver.gmail]\nconnection_limit = 5\nmax_connection_rate = "60/m"\nmax_deliveries_per_connection = 20\n'
    assert routes(read(tmp_path, text)).receivers == {"gmail": Reach(2, 0.5, 20)}
    assert routes(read(tmp_path, "[receiver.a]\nconnection_limit = 1\n")).receivers == {"a": Reach(1, 0.0, 0)}


def test_tables_inside_tables_are_judged_like_others(tmp_path: Path) -> None:
    text = """[receiver.gmail]
on_reply = [{ match = "421 (", action = "stop", for = "15", rat = "1/s" }]
[sender.bulk]
from = "bulk@example.com"
relays = ["defualt"]
warmup = { tiers = [{ per_hour = -1 }], bounces = "two" }
"""
    said = "\n".join(complaints(tmp_path, text))
    for expected in (
        "on_reply.match is no regular expression of RE2",
        "on_reply.action must be suspend, slow or pass, not 'stop'",
        "on_reply.for is no length of time",
        "unknown key rat in [receiver.gmail.on_reply] (did you mean rate?)",
        "sender.bulk.relays names 'defualt', which is no relay",
        "(did you mean default?)",
        "warmup.tiers.per_hour must be between 0 and 1000000000, not -1",
        "warmup.bounces must be like 2%, not 'two'",
    ):
        assert expected in said


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('[direct]\nstarttls = "off"', "must be optional or required"),
        ('[breaker]\nbounces = "101%"', "must be like 2%"),
        ('[relay.b]\nurl = "mx:"', "is for a relay"),
        ('[relay.b]\nurl = "http://b.example"', "must be like smtp://"),
        ("[relay.b]\nweight = 2", "relay.b.url is missing"),
        ('[sender.b]\nfrom = "b@b.example"\nmax_message_rate = "fast"', "must be like 100/s"),
        ('[sender.b]\nfrom = "b@b.example"\nreturn_path = "Bounces <b@b.example>"', "must be a bare address"),
        (
            '[sender.b]\nfrom = "b@b.example"\nreturn_path = "nineteen-characters@b.example"',
            "18 ASCII characters before the @",
        ),
        ("receiver = 3", "must be a table of receivers"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path: Path, line: str, why: str) -> None:
    if line.startswith("receiver"):
        (tmp_path / "heliograph.toml").write_text(line + "\n" + BASE.format(url="smtp://127.0.0.1:1025"))
        with pytest.raises(ConfigError, match=why):
            load(tmp_path, {})
        return
    assert any(why in one for one in complaints(tmp_path, line + "\n"))


def test_tables_of_the_environment(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        HELIOGRAPH_RELAY_BACKUP_URL="smtp://b.example",
        HELIOGRAPH_RECEIVER_GMAIL_CONNECTION_LIMIT="4",
        HELIOGRAPH_RECEIVER_GMAIL_ON_REPLY='[{"match": "4.7.28", "for": "PT1H"}]',
        HELIOGRAPH_SENDER_DEFAULT_WARMUP='{"bounces": "3%"}',
        HELIOGRAPH_BREAKER_ENABLED="false",
    )
    assert found.relay["backup"].url == "smtp://b.example" and found.receiver["gmail"].connection_limit == 4
    assert found.receiver["gmail"].on_reply[0].for_ == "PT1H" and not found.breaker.enabled
    assert found.sender["default"].warmup is not None and found.sender["default"].warmup.bounces == "3%"


def test_a_file_of_certificates_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"direct\.ca_file: .*no\.pem cannot be read"):
        routes(read(tmp_path, '[direct]\nca_file = "no.pem"\n', url="mx:"))
