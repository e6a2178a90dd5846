"""The relays: connected to, greeted, encrypted and logged in to, and left without a mail."""

from heliograph.adapters.smtp import PATIENCE, BadUrl, Trust, parse_url
from heliograph.adapters.smtp.opening import CannotOpen, Opener
from heliograph.bootstrap.mail import read_ca
from heliograph.config import DIRECT, ConfigError, is_loopback
from heliograph.deliver.routes import DEFAULT
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient

MENDS = {
    "unreachable": "is it running, is the port open, is the url right?",
    "tls": "a certificate for that name, ca_file for an authority of your own, or another starttls=",
    "login": "look at user and password in the url (special characters as %xx)",
    "refused": "ask its operator: it knows us and says no",
}
"""By the kind of :class:`CannotOpen`."""


async def relays(patient: Patient) -> list[Finding]:
    """Each of them, as mailers would open it."""
    settings = patient.settings
    if settings is None:
        return []
    named = {DEFAULT: (settings.smtp.url, "smtp", settings.smtp.ca_file)}
    named |= {name: (one.url, f"relay.{name}", one.ca_file) for name, one in settings.relay.items()}
    return [await _relay(f"relay.{name}", *one) for name, one in named.items()]


async def _relay(name: str, url: str, section: str, ca_file: str) -> Finding:
    if url == DIRECT:
        return skipped(name, "mail goes straight to the receivers")
    try:
        relay = parse_url(url)
        session = await Opener(relay, PATIENCE, Trust(read_ca(section, ca_file))).open()
    except (BadUrl, ConfigError) as error:
        return fail(name, str(error), f"mend [{section}]")
    except CannotOpen as error:
        return fail(name, str(error), MENDS[error.kind])
    session.transport.write(b"QUIT\r\n")
    session.transport.close()
    if relay.user is not None and not session.encrypted and not is_loopback(relay.host):
        return warn(name, f"{session.via} took the password in the clear", "starttls=required in the url, or smtps://")
    return ok(name, f"{session.via} takes mail" + (f" from {relay.user}" if relay.user is not None else ""))
