"""The press of a mailer: jobs in, parcels ready to travel out.  CPU work only; it never waits."""

from collections.abc import Iterable
from typing import Any

from heliograph.ports import Parcel
from heliograph.render import BadAddress, Envelope, LinkKeys, ReturnPath, Signer, Skip, load, render_message
from heliograph.runtime.mailwire import Job, MailerSender, MailerSettings

KEPT_TEMPLATES = 1000
"""Compiled templates kept for messages decided under an older plan; the oldest go first."""


class Press:
    """Renders and signs with what :class:`MailerSettings` holds."""

    def __init__(self, settings: MailerSettings, templates: Iterable[dict[str, Any]]) -> None:
        """Raises ``DkimKeyError``, ``BadAddress`` or ``ValueError`` where the settings cannot be used."""
        self._settings = settings
        for sender in settings.senders.values():
            if sender.return_path:
                ReturnPath(sender.return_path)
        self._link_keys = LinkKeys({int(number): secret for number, secret in settings.link_keys.items()})
        self._signers = {name: _signers(sender) for name, sender in settings.senders.items()}
        self._templates: dict[tuple[str, str], dict[str, Any]] = {}
        self.learn(templates)

    def learn(self, templates: Iterable[dict[str, Any]]) -> None:
        """More templates; those known stay while messages wait for them."""
        for template in templates:
            self._templates[template["name"], template["version"]] = template
        while len(self._templates) > KEPT_TEMPLATES:
            del self._templates[next(iter(self._templates))]

    def print(self, job: Job, now: int) -> Parcel:
        """The message of this job, dated ``now`` (ms).  Raises :class:`heliograph.render.Skip` when it must not go."""
        template = self._templates.get((job.template, job.template_version))
        if template is None:
            raise Skip(f"no_template: {job.template}@{job.template_version}")
        sender = self._settings.senders.get(template["sender"])
        if sender is None:
            raise Skip(f"no_sender: {template['sender']}")
        try:
            mail = render_message(load(template), job.context, self._envelope(job, template["sender"], sender, now))
        except BadAddress as error:
            raise Skip(f"bad_address: {error}") from error
        return Parcel(job.message_id, mail.sender, mail.recipient, mail.data, job.route, job.receiver)

    def _envelope(self, job: Job, name: str, sender: MailerSender, now: int) -> Envelope:
        return Envelope(
            message_id=job.message_id,
            to=job.address,
            from_=sender.from_,
            date_ms=now,
            base_url=self._settings.base_url,
            link_keys=self._link_keys,
            key=job.key,
            topic=job.topic,
            reply_to=sender.reply_to,
            postal_address=sender.postal_address,
            signers=self._signers[name],
            timezone=self._settings.timezone,
            return_path=sender.return_path,
            campaign=job.campaign,
            project=self._settings.project,
        )


def _signers(sender: MailerSender) -> tuple[Signer, ...]:
    return tuple(Signer(key.domain, key.selector, key.pem) for key in sender.dkim)
