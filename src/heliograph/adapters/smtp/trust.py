"""TLS contexts of a client: one that verifies and one that does not, each made once (loading the system's
certificates takes tens of milliseconds)."""

import ssl
from functools import cached_property

from heliograph.adapters.smtp.url import BadUrl


class Trust:
    """``ca_pem``: certificates to trust beside the system's (``SSL_CERT_FILE`` is heeded).  ``given`` stands in for all
    of them."""

    def __init__(self, ca_pem: str = "", given: ssl.SSLContext | None = None) -> None:
        """:class:`BadUrl` when the certificates cannot be read."""
        self._ca_pem = ca_pem
        self._given = given
        if ca_pem:
            _ = self.verifying

    @cached_property
    def verifying(self) -> ssl.SSLContext:
        """The certificate must be trusted and name the host."""
        if self._given is not None:
            return self._given
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca_pem:
            try:
                context.load_verify_locations(cadata=self._ca_pem)
            except (ssl.SSLError, ValueError) as error:
                raise BadUrl(f"no certificates in PEM: {error}") from None
        return context

    @cached_property
    def unverifying(self) -> ssl.SSLContext:
        """Shuts a listener out, but no impostor (RFC 7435)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
