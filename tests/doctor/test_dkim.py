"""What stands in DNS is the key that signs, or the doctor says why not."""

import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from heliograph.doctor import dkim


@pytest.fixture(scope="module")
def rsa() -> RSAPrivateKey:
    return rsa_key(65537, 2048)


def kept(folder: Path, key: object) -> Path:
    file = folder / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # type: ignore[attr-defined]
    return file


def test_the_record_is_what_openssl_prints(tmp_path: Path, rsa: RSAPrivateKey) -> None:
    file = kept(tmp_path, rsa)
    der = subprocess.check_output(["openssl", "pkey", "-in", file, "-pubout", "-outform", "DER"])
    own = dkim.public_of(file)
    assert own.record == f"v=DKIM1; k=rsa; p={b64encode(der).decode()}"
    assert own.bits == 2048
    assert dkim.complaint(own, own.record) == ""


def test_pkcs1_and_blanks_are_the_same_key(tmp_path: Path, rsa: RSAPrivateKey) -> None:
    own = dkim.public_of(kept(tmp_path, rsa))
    pkcs1 = b64encode(rsa.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()
    assert dkim.complaint(own, f"v=DKIM1;p={pkcs1[:40]} {pkcs1[40:]}") == ""


def test_ed25519_is_32_octets(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    own = dkim.public_of(kept(tmp_path, key))
    assert own.key == key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert dkim.complaint(own, own.record) == ""
    assert "k=rsa" in dkim.complaint(own, own.record.replace("k=ed25519; ", ""))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("v=DKIM1; k=rsa; p=", "revoked"),
        ("v=DKIM1; k=rsa", "no p="),
        ("v=DKIM2; k=rsa; p=AAAA", "v=DKIM1"),
        ("v=DKIM1; k=rsa; p=AAAA", "another key"),
        ("v=DKIM1; k=rsa; p=not base64!", "another key"),
        ("v=DKIM1; h=sha1; p=AAAA", "sha256"),
    ],
)
def test_a_record_that_does_not_fit_is_told(tmp_path: Path, rsa: RSAPrivateKey, record: str, why: str) -> None:
    assert why in dkim.complaint(dkim.public_of(kept(tmp_path, rsa)), record)


def test_a_key_that_signs_no_mail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither RSA nor Ed25519"):
        dkim.public_of(kept(tmp_path, generate_private_key(SECP256R1())))
