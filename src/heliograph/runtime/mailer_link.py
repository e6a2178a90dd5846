"""A connected mailer process, as the engine sees it."""

import asyncio

from heliograph.ports import MessageRow
from heliograph.runtime import mailwire


class Mailer:
    """One connected mailer process.  ``held``: the messages that are its own until it reports them."""

    def __init__(self, epoch: int, writer: asyncio.StreamWriter) -> None:
        self.epoch = epoch
        self.credit = 0
        self.held: dict[str, MessageRow] = {}
        self._writer = writer
        self._frames: list[bytes] = []

    def send(self, message: mailwire.FromEngine) -> None:
        """What is said in one turn of the loop leaves in one write: each is a system call that wakes the mailer, some
        40 us, and one commit answers several asks."""
        if not self._frames:
            asyncio.get_running_loop().call_soon(self._flush)
        self._frames.append(mailwire.frame(message))

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if frames and not self._writer.is_closing():
            self._writer.write(b"".join(frames))

    def close(self) -> None:
        self._flush()
        self._writer.close()
