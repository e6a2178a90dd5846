"""Mail as its recipient gets it: parsed back from the bytes that would have gone to the receiver."""

import re
from collections.abc import Callable, Iterable
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property

from heliograph.ports import MessageRow
from heliograph.render import LinkKeys, verify

_HREF = re.compile(r'href="([^"]+)"')


class Mail:
    """One message that the receiver took.  ``sent_at`` is in ms UTC; ``to`` the bare address."""

    def __init__(self, row: MessageRow, data: bytes, sent_at: int, keys: LinkKeys) -> None:
        self.message_id = row.message_id
        self.template = row.template
        self.journey = row.journey
        self.step = row.step_id
        self.topic = row.topic
        self.to = row.address
        self.sent_at = sent_at
        self.data = data
        self._key = row.key
        self._keys = keys

    def __repr__(self) -> str:
        return f"<{self.template} to {self.to}: {self.subject!r}>"

    @cached_property
    def headers(self) -> EmailMessage:
        """The parsed message: ``mail.headers["Reply-To"]``."""
        return message_from_bytes(self.data, policy=policy.default)

    @property
    def subject(self) -> str:
        return str(self.headers["Subject"])

    @property
    def sender(self) -> str:
        return str(self.headers["From"])

    @cached_property
    def html(self) -> str:
        return self._part("html")

    @cached_property
    def text(self) -> str:
        return self._part("plain")

    def _part(self, kind: str) -> str:
        part = self.headers.get_body((kind,))
        return "" if part is None else str(part.get_content())

    @cached_property
    def links(self) -> list[str]:
        """Where the links of the HTML lead, in order; ours (unsubscribe, preferences) as they are written."""
        return [self._destination(url.replace("&amp;", "&")) for url in _HREF.findall(self.html)]

    def _destination(self, url: str) -> str:
        _, mark, token = url.rpartition("/c/")
        claims = verify("c", token, self._keys) if mark else None
        return url if claims is None else claims.url

    @property
    def unsubscribe_url(self) -> str:
        """Of the header that mailbox providers act on; empty in transactional mail."""
        return str(self.headers["List-Unsubscribe"] or "").strip("<>")


class Mails(list[str]):
    """Names of templates, oldest first: ``ann.mails == ["welcome"]``.  ``why``: what the server would say about one."""

    def __init__(self, names: Iterable[str], why: Callable[[str], str]) -> None:
        super().__init__(names)
        self._why = why

    def explained(self, expected: Iterable[str]) -> list[str]:
        """Why each mail that makes the difference was, or was not, sent."""
        expected = list(expected)
        differing = [name for name in dict.fromkeys([*expected, *self]) if expected.count(name) != self.count(name)]
        return [f"{name}: {self._why(name)}" for name in differing]
