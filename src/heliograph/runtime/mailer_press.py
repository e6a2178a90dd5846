"""The press of a mailer: jobs in, parcels ready to travel out.  CPU work only; it never waits."""

from collections.abc import Iterable
from typing import Any

from heliograph.ports import Parcel
from heliograph.render import (
    BadAddress,
    Envelope,
    LinkKeys,
    ReturnPath,
    Signer,
    Skip,
    enclosed_bytes,
    load,
    render_message,
)
from heliograph.runtime.mailwire import Job, MailerSender, MailerSettings

KEPT_TEMPLATES = 1000
"""Compiled templates kept for messages decided under an older plan; the oldest go first."""
KEPT_BYTES = 64_000_000
"""Octets of their attachments and images: six plans that are as heavy as they may be."""


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
        """The templates of a plan; those of plans before stay for messages that wait, within bounds."""
        fresh = {(template["name"], template["version"]): template for template in templates}
        kept = {key: template for key, template in self._templates.items() if key not in fresh}
        weight = sum(map(enclosed_bytes, (*kept.values(), *fresh.values())))
        while kept and (len(kept) + len(fresh) > KEPT_TEMPLATES or weight > KEPT_BYTES):
            weight -= enclosed_bytes(kept.pop(next(iter(kept))))
        self._templates = kept | fresh

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
