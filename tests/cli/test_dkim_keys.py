"""A key that cannot sign stops the start: no mailer is left to find out."""

from pathlib import Path

import pytest

from heliograph.bootstrap.mail import dkim_key
from heliograph.config import ConfigError, DkimSetting


@pytest.mark.parametrize("content", [b"junk", b"\xff\xfe\x00", b"", None])
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "dkim.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"dkim\.pem of \[sender\.default\]: "):
        dkim_key("default", DkimSetting("shop.example", "s1", str(file)))
