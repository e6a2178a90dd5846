"""The mailer of a test: renders with the production press, asks to pass the commit point, and says what the receiver
answered."""

from heliograph.deliver import replies
from heliograph.ports import Clock, MessageRow, Parcel
from heliograph.render import LinkKeys, Skip
from heliograph.runtime import mailwire
from heliograph.runtime.crank import Crank, HandMailer
from heliograph.runtime.mailer_press import Press
from heliograph.testing.mail import Mail

TAKEN = "250 2.0.0 Ok"
LOST = ""
"""The connection breaks after the final dot: nobody knows whether the receiver took it."""


class Postman:
    """``replies``: address -> what its receiver answers, instead of :data:`TAKEN`."""

    def __init__(self, crank: Crank, clock: Clock, settings: mailwire.MailerSettings) -> None:
        self.replies: dict[str, str] = {}
        self.sent: list[Mail] = []
        self.held = False
        self._crank, self._clock, self._settings = crank, clock, settings
        self._keys = LinkKeys({int(number): secret for number, secret in settings.link_keys.items()})
        crank.dispatcher.settings = settings
        self._press: Press
        self._mailer: HandMailer = crank.mailer()

    def deliver(self) -> None:
        """Everything that may go now."""
        self._listen()
        while not self.held and self._crank.offer():
            self._listen()

    def _listen(self) -> None:
        while self._mailer.heard:
            match self._mailer.heard.pop(0):
                case mailwire.Setup(templates=templates):
                    self._press = Press(self._settings, templates)
                case mailwire.Templates(templates):
                    self._press.learn(templates)
                case mailwire.Offer(jobs):
                    for job in jobs:
                        self._report(self._done(job))

    def _done(self, job: mailwire.Job) -> mailwire.Done:
        now = self._clock.now()
        try:
            parcel = self._press.print(job, now)
        except Skip as skip:
            return mailwire.Done(job.message_id, "skipped", skip.reason, now)
        row = self._mailer.held[job.message_id]
        if stopped := self._ask(job.message_id):
            return mailwire.Done(job.message_id, "stopped", stopped, now)
        return self._carry(row, parcel, now)

    def _ask(self, message_id: str) -> str:
        """Pass the commit point; the reason when it may not."""
        self._crank.dispatcher.hear(self._mailer, mailwire.AskCommit(self._mailer.epoch, [message_id]))
        verdicts = self._mailer.heard.pop()
        assert isinstance(verdicts, mailwire.Verdicts)
        return verdicts.stop[0][1] if verdicts.stop else ""

    def _carry(self, row: MessageRow, parcel: Parcel, now: int) -> mailwire.Done:
        reply = self.replies.get(row.address, TAKEN)
        if reply == LOST:
            return mailwire.Done(row.message_id, "unknown", "the connection broke after the final dot", now)
        parsed = replies.parse(reply)
        kind = replies.outcome(parsed.code)
        if kind == "sent":
            self.sent.append(Mail(row, parcel.data, now, self._keys))
        suppress = replies.condemns_address("rcpt", parsed.code, parsed.enhanced, parsed.text)
        return mailwire.Done(row.message_id, kind, reply, now, len(parcel.data), suppress)

    def _report(self, done: mailwire.Done) -> None:
        self._crank.dispatcher.hear(self._mailer, mailwire.Report(self._mailer.epoch, [done]))
