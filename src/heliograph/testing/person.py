"""One person of a test: what they do, what they get, and why."""

from typing import TYPE_CHECKING, Any

from heliograph import decide
from heliograph.decide.broadcasts import broadcast_of
from heliograph.decide.parsing import nearest
from heliograph.events.record import LedgerRow, ListChange, Outcome
from heliograph.testing.mail import Mail, Mails

if TYPE_CHECKING:
    from heliograph.testing.project import Project

JOURNAL = 10_000
"""Facts of one person that are looked at."""
IMPLICIT_TOPIC = "marketing"


class Person:
    """A handle, made by :meth:`Project.person` or :meth:`Project.visitor`; two of the same id are the same person."""

    def __init__(self, project: "Project", user_id: str | None, anonymous_id: str | None) -> None:
        self._project = project
        self.user_id = user_id
        self.anonymous_id = anonymous_id

    def __repr__(self) -> str:
        return f"<{self._name}>"

    @property
    def _name(self) -> str:
        return self.user_id or f"visitor {self.anonymous_id}"

    @property
    def _key(self) -> str:
        return f"u:{self.user_id}" if self.user_id else f"a:{self.anonymous_id}"

    # -- what they do --

    def track(self, event: str, properties: dict[str, Any] | None = None, /, **more: Any) -> str:
        """Something happened.  Properties as a dict or by name; ``at`` (an instant, or ``"-PT2H"``), ``message_id``,
        ``context`` and ``anonymous_id`` are those of the call.  Returns accepted or duplicate; raises
        :class:`~heliograph.testing.EventRefused` when a schema or a limit says no."""
        return self._call("track", {"event": event}, "properties", {**(properties or {}), **more})

    def page(self, name: str = "", properties: dict[str, Any] | None = None, /, **more: Any) -> str:
        return self._call("page", {"name": name}, "properties", {**(properties or {}), **more})

    def screen(self, name: str = "", properties: dict[str, Any] | None = None, /, **more: Any) -> str:
        return self._call("screen", {"name": name}, "properties", {**(properties or {}), **more})

    def identify(self, traits: dict[str, Any] | None = None, /, **more: Any) -> str:
        """Traits as a dict or by name; ``consent={"offers": True}`` is what they said to topics."""
        consent = more.pop("consent", None)
        if consent is not None:
            said = {"consent": {"categoryPreferences": consent}}
            more["context"] = {**more.get("context", {}), **said}
        return self._call("identify", {}, "traits", {**(traits or {}), **more})

    def alias(self, previous: "Person | str") -> str:
        """``previous`` (a person or a user id) turned out to be this one."""
        name = previous if isinstance(previous, str) else previous.user_id or previous.anonymous_id
        return self._call("alias", {"previousId": name}, "properties", {})

    def _call(self, type: str, head: dict[str, Any], field: str, values: dict[str, Any]) -> str:
        call = {"type": type, "userId": self.user_id, "anonymousId": self.anonymous_id, **head}
        for option, name in (("anonymous_id", "anonymousId"), ("message_id", "messageId"), ("context", "context")):
            if option in values:
                call[name] = values.pop(option)
        if "at" in values:
            call["timestamp"] = self._project._instant_text(values.pop("at"))
        call[field] = values
        return self._project._collect({name: value for name, value in call.items() if value is not None})

    def enters(self, journey: str, properties: dict[str, Any] | None = None, /, **more: Any) -> str:
        """The API asks them into a journey with ``entry: {api: true}``; started, refused, duplicate or waiting."""
        _must_exist("journey", journey, self._project._crank.plan.journeys)
        return self._project._enter(self._key, journey, {**(properties or {}), **more})

    def joins(self, name: str) -> None:
        """An import puts them on a static list."""
        self._project._change(lambda crank, now: crank.change_lists([(self._key, ListChange(name, True, now))]))

    def leaves(self, name: str) -> None:
        """An import takes them off a static list."""
        self._project._change(lambda crank, now: crank.change_lists([(self._key, ListChange(name, False, now))]))

    # -- what they do with mail --

    def opens(self, mail: Mail | None = None, *, machine: bool = False) -> None:
        """``machine``: a scanner or a mail proxy did, which is recorded and never acted on."""
        self._tell("opened", mail, {}, machine)

    def clicks(self, mail: Mail | None = None, link: str = "", *, machine: bool = False) -> None:
        """Click the first link whose destination holds ``link``."""
        mail = mail or self.last_mail
        found = [url for url in mail.links if link in url and not url.startswith(self._project.base_url)]
        if not found:
            raise LookupError(f"{mail!r} has no link with {link!r}; it leads to {', '.join(mail.links) or 'nowhere'}")
        self._tell("clicked", mail, {"url": found[0]}, machine)

    def unsubscribes(self, mail: Mail | None = None) -> None:
        """With one click: the topic of that mail is withdrawn."""
        mail = mail or self.last_mail
        topic = mail.topic or IMPLICIT_TOPIC
        proof = f"message {mail.message_id}"
        self._project._change(
            lambda crank, now: crank.change_ledger([LedgerRow(mail.to, topic, False, now, "one-click", proof=proof)])
        )
        self._tell("unsubscribed", mail, {"topic": topic, "source": "one-click"}, False)

    def complains(self, mail: Mail | None = None) -> None:
        """Calls it spam: no more marketing to this address."""
        self._tell("complained", mail, {}, False)

    def bounces(self, mail: Mail | None = None, reason: str = "550 5.1.1 no such user") -> None:
        """The mail comes back after it was taken: nothing more to this address."""
        self._tell("bounced", mail, {}, False, reason)

    def _tell(self, kind: str, mail: Mail | None, properties: dict[str, Any], machine: bool, reason: str = "") -> None:
        message_id = (mail or self.last_mail).message_id
        self._project._change(
            lambda crank, now: crank.feedback([Outcome(message_id, kind, now, reason, machine, properties)])
        )

    # -- what they get --

    @property
    def messages(self) -> list[Mail]:
        """Every mail that their receiver took, oldest first."""
        return [mail for mail in self._project.messages if self._is_mine(mail._key)]

    @property
    def mails(self) -> Mails:
        """The templates of :attr:`messages`."""
        return Mails((mail.template for mail in self.messages), lambda name: self.why(template=name))

    @property
    def last_mail(self) -> Mail:
        messages = self.messages
        if not messages:
            raise LookupError(f"{self._name} got no mail. " + " ".join(f"{n}: {self.why(n)}" for n in self._journeys))
        return messages[-1]

    @property
    def unsent(self) -> list[str]:
        """Mail that was decided and did not go (yet): ``"welcome: skipped, no_consent: news"``, oldest first."""
        rows = [row for row in self._project._rows() if self._is_mine(row.key) and not row.sent_at]
        return [f"{row.template}: {row.status}" + (f", {row.reason}" if row.reason else "") for row in rows]

    def _is_mine(self, key: str) -> bool:
        mine = self._state
        theirs = self._project._crank.state(key)
        return mine is not None and theirs is not None and mine.key == theirs.key

    # -- what is known of them --

    @property
    def _state(self) -> decide.State | None:
        return self._project._crank.state(self._key)

    @property
    def _view(self) -> dict[str, Any]:
        state = self._state
        if state is None:
            raise LookupError(f"nothing is known of {self._name}: no event has arrived")
        return decide.profile_view(state, self._project._crank.plan, self._project._clock.now())

    @property
    def traits(self) -> dict[str, Any]:
        return dict(self._view["traits"])

    @property
    def segments(self) -> list[str]:
        return [segment["name"] for segment in self._view["segments"]]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Runs through journeys, those under way first: ``journey, status, step, key, entered_at, until ...``."""
        return list(self._view["runs"])

    def in_journey(self, journey: str) -> bool:
        """Whether a run is under way, held out or not."""
        return any(run["journey"] == journey and run["status"] in ("active", "holdout") for run in self.runs)

    # -- why --

    @property
    def _journeys(self) -> list[str]:
        return sorted(self._project._crank.plan.journeys)

    def why(self, journey: str = "", *, template: str = "") -> str:
        """Where they are in a journey or why not in it; or what became of a template: what ``heliograph why`` says."""
        crank, now = self._project._crank, self._project._clock.now()
        state, plan = self._state, crank.plan
        journal = [(row.at, row.kind, row.data) for row in crank.store.journal(state.key, JOURNAL)] if state else []
        if template:
            _must_exist("template", template, plan.templates)
            answer = decide.explain_template(state, plan, template, now, journal)
        else:
            if not broadcast_of(journey):
                _must_exist("journey", journey, plan.journeys)
            answer = decide.explain_journey(state, plan, journey, now, journal)
        return str(answer["sentence"])

    def timeline(self) -> str:
        """Everything that was decided about them, oldest first, a line each: print it when you are at a loss."""
        return self._project._timeline(self._key)


def _must_exist(kind: str, name: str, known: Any) -> None:
    if name not in known:
        hint = nearest(name, known)
        raise LookupError(f"the project has no {kind} {name!r}" + (f"; did you mean {hint}?" if hint else ""))
