"""What ``[direct]`` may say."""

from pathlib import Path

import pytest

from heliograph.bootstrap.mail import read_ca
from heliograph.config import ConfigError
from heliograph.config.rules import RULES
from heliograph.config.settings import DirectSetting
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ehlo", ""),
        ("ehlo", "mail.shop.example"),
        ("nameservers", ("127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:5353", "[::1]")),
        ("source_addresses", ("198.51.100.7", "2001:db8::7")),
        ("private_networks", ("10.0.0.0/8", "fd00::/8", "127.0.0.1")),
    ],
)
def test_what_is_meant_passes(key: str, value: object) -> None:
    assert RULES[DirectSetting, key](value) == ""


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("ehlo", "localhost", "a host name with matching forward and reverse DNS"),
        ("ehlo", "a b.example", "a host name"),
        ("nameservers", ("127.0.0.1", "dns.example"), "ADDRESS or ADDRESS:PORT, not 'dns.example'"),
        ("nameservers", ("127.0.0.1:x",), "ADDRESS or ADDRESS:PORT"),
        ("source_addresses", ("eth0",), "addresses of this machine, not 'eth0'"),
        ("private_networks", ("10.0.0.1/8",), "networks like 10.0.0.0/8: 10.0.0.1/8 has host bits set"),
    ],
)
def test_what_is_not_is_told(key: str, value: object, why: str) -> None:
    assert why in RULES[DirectSetting, key](value)


def test_a_file_of_certificates_is_read_at_the_start(tmp_path: Path) -> None:
    good = Authority(tmp_path).file
    assert read_ca("smtp", str(good)) == good.read_text()
    assert read_ca("smtp", "") == ""
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nbad\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigError, match=r"smtp\.ca_file: .*bad\.pem cannot be read: no certificates in PEM"):
        read_ca("smtp", str(tmp_path / "bad.pem"))
