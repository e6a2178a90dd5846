"""heliograph.toml and the environment."""

from pathlib import Path

import pytest

from heliograph import config
from heliograph.config import ConfigError, is_loopback, line_of, load

TOML = """[project]
name = "shop"
[collect]
write_key = "public"
[api]
token = "secret"
[smtp]
url = "smtp://127.0.0.1:1025"
[sender.default]
from = "Shop <shop@example.com>"
dkim = [{ domain = "example.com", selector = "s1", key_file = "keys/rsa.pem" }]
[sender.north-pole]
from = "santa@example.com"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "heliograph.toml").write_text(TOML)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "rsa.pem").write_text("key")
    return tmp_path


def test_defaults_are_there_and_key_files_are_absolute(project: Path) -> None:
    settings = load(project, {})
    assert (settings.server.host, settings.server.port, settings.collect.rate_limit) == ("127.0.0.1", 8080, "2000/s")
    assert settings.sender["default"].from_ == "Shop <shop@example.com>"
    assert settings.sender["default"].dkim[0].key_file == str(project / "keys" / "rsa.pem")


def test_a_base_url_fits_into_a_line_of_mail(project: Path) -> None:
    longest = "https://mail.example/" + "x" * 179
    assert load(project, {"HELIOGRAPH_PROJECT_BASE_URL": longest}).project.base_url == longest
    with pytest.raises(ConfigError, match="at most 200 characters, not 201"):
        load(project, {"HELIOGRAPH_PROJECT_BASE_URL": longest + "x"})


def test_the_environment_wins_over_the_file(project: Path) -> None:
    dkim = '[{"domain": "a.example", "selector": "x", "key_file": "keys/rsa.pem"}]'
    settings = load(
        project,
        {
            "HELIOGRAPH_SMTP_URL": "smtps://u:p%40w@relay.example:465",
            "HELIOGRAPH_SERVER_PORT": "9090",
            "HELIOGRAPH_PROJECT_TIME_SCALE": "3600",
            "HELIOGRAPH_SENDER_DEFAULT_FROM": "New <new@example.com>",
            "HELIOGRAPH_SENDER_DEFAULT_REPLY_TO": "reply@example.com",
            "HELIOGRAPH_SENDER_DEFAULT_DKIM": dkim,
            "HELIOGRAPH_SENDER_NORTH_POLE_FROM": "elf@example.com",
            "HELIOGRAPH_SENDER_EXTRA_FROM": "extra@example.com",
        },
    )
    assert settings.smtp.url == "smtps://u:p%40w@relay.example:465"
    assert (settings.server.port, settings.project.time_scale) == (9090, 3600.0)
    assert settings.sender["default"].from_ == "New <new@example.com>"
    assert settings.sender["default"].reply_to == "reply@example.com"
    assert settings.sender["default"].dkim[0].domain == "a.example"
    assert settings.sender["north-pole"].from_ == "elf@example.com"
    assert settings.sender["extra"].from_ == "extra@example.com"


def test_a_secret_is_read_from_a_file(project: Path) -> None:
    secret = project / "token"
    secret.write_text("from a file\n")
    assert load(project, {"HELIOGRAPH_API_TOKEN_FILE": str(secret)}).api.token == "from a file"


def test_a_mistake_in_the_environment_is_not_looked_for_in_the_file(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"^environment: HELIOGRAPH_SMTP_URL: smtp\.url must be like smtp://"):
        load(project, {"HELIOGRAPH_SMTP_URL": "http://x"})


def test_a_key_that_the_file_lacks_may_come_from_the_environment_alone(project: Path) -> None:
    (project / "heliograph.toml").write_text(TOML.replace('[api]\ntoken = "secret"\n', ""))
    assert load(project, {"HELIOGRAPH_API_TOKEN": "t"}).api.token == "t"
    with pytest.raises(ConfigError, match=r"api\.token is missing; set it here or as HELIOGRAPH_API_TOKEN"):
        load(project, {})


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HELIOGRAPH_SMPT_URL", "smtp://x", "did you mean HELIOGRAPH_SMTP_URL?"),
        ("HELIOGRAPH_SERVER_PORT", "eighty", "must be a whole number"),
        ("HELIOGRAPH_SENDER_DEFAULT_DKIM", "s1", "must be a list in JSON"),
        ("HELIOGRAPH_API_TOKEN_FILE", "/nowhere/token", "cannot read /nowhere/token"),
        ("HELIOGRAPH_SMTP_URL", "http://relay", "smtp.url must be like"),
        ("HELIOGRAPH_SMTP_URL", "smtp://relay?starttls=yes", "starttls must be required, optional or off"),
        ("HELIOGRAPH_PROJECT_TIMEZONE", "Mars", "must be a zone"),
        ("HELIOGRAPH_SENDER_DEFAULT_DKIM", '[{"domain": "d", "selector": "s", "key_file": "no.pem"}]', "no.pem"),
    ],
)
def test_a_wrong_variable_stops_the_start_and_is_named(project: Path, variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(project, {variable: value})
    assert said in str(error.value)


@pytest.mark.parametrize(
    "variable",
    ["HELIOGRAPH_SERVICE_HOST", "HELIOGRAPH_PORT", "HELIOGRAPH_PORT_8080_TCP_ADDR", "HELIOGRAPH_URL", "HELIOGRAPH_CI"],
)
def test_variables_that_are_not_ours_are_left_alone(project: Path, variable: str) -> None:
    load(project, {variable: "tcp://10.0.0.1:8080"})


@pytest.mark.parametrize("section", ["collect", "api"])
def test_a_demo_key_is_only_heard_on_loopback(project: Path, section: str) -> None:
    demo = {
        "collect": {"HELIOGRAPH_COLLECT_WRITE_KEY": config.DEMO_WRITE_KEY},
        "api": {"HELIOGRAPH_API_TOKEN": config.DEMO_TOKEN},
    }[section]
    assert load(project, demo, host="::1", port=1).server.port == 1
    for host in ("0.0.0.0", "192.168.0.5", "shop.example", "::"):
        with pytest.raises(ConfigError, match="loopback"):
            load(project, demo, host=host)
    assert load(project, {}, host="0.0.0.0").server.host == "0.0.0.0"


def test_loopback_is_known_by_its_addresses() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.example", ""]))


def test_lines_of_toml_keys() -> None:
    assert [line_of(TOML, key) for key in ("smtp.url", "sender.north-pole.from", "smtp.typo", "nothing")] == [
        8, 13, 7, None,
    ]  # fmt: skip


def test_no_project_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no heliograph\.toml"):
        load(tmp_path, {})


SECRET = "whsec_" + "A" * 32


def test_webhook_secrets_come_from_the_file_the_environment_or_a_file_of_their_own(project: Path) -> None:
    assert load(project, {}).webhooks.secrets == ()
    (project / "heliograph.toml").write_text(TOML + f'[webhooks]\nsecrets = ["{SECRET}"]\n')
    assert load(project, {}).webhooks.secrets == (SECRET,)
    both = (SECRET, "whsec_" + "B" * 43 + "=")
    said = f'["{both[0]}", "{both[1]}"]'
    assert load(project, {"HELIOGRAPH_WEBHOOKS_SECRETS": said}).webhooks.secrets == both
    assert load(project, {"HELIOGRAPH_WEBHOOKS_SECRETS": "\n".join(both)}).webhooks.secrets == both
    (project / "secret").write_text(both[1] + "\n")
    variables = {"HELIOGRAPH_WEBHOOKS_SECRETS_FILE": str(project / "secret")}
    assert load(project, variables).webhooks.secrets == both[1:]


@pytest.mark.parametrize("text", ["whsec_hushhush", "hushhush" * 8, '["hushhush', '{"a": "hushhush"}', "[5]", "whsec_"])
def test_a_secret_that_is_none_stops_the_start_and_is_not_told(project: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="HELIOGRAPH_WEBHOOKS_SECRETS") as error:
        load(project, {"HELIOGRAPH_WEBHOOKS_SECRETS": text})
    assert "hush" not in str(error.value)
