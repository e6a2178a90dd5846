"""``message.yaml``: its keys, as a table, and what is wrong with one (contract, section 6)."""

from collections.abc import Collection
from typing import Any, NamedTuple

from heliograph.decide.parsing import nearest
from heliograph.decide.times import ms


class Key(NamedTuple):
    """What a key takes: text, or one of ``words``; ``required`` as said."""

    words: tuple[str, ...] = ()
    required: bool = False
    duration: bool = False


KEYS = {
    "subject": Key(required=True),
    "preheader": Key(),
    "sender": Key(),
    "class": Key(("marketing", "transactional")),
    "freshness": Key(duration=True),
    "on_unknown": Key(("hold", "resend")),
}
LATER = {"locales": "translations", "experiment": "experiments", "variants": "variants", "channel": "channels"}


class MessageProblem(NamedTuple):
    """``key``: the one it is about, "" for the file."""

    key: str
    message: str
    hint: str = ""


def problems_of(message: dict[str, Any], senders: Collection[str]) -> list[MessageProblem]:
    """Everything wrong with the keys and values of one message; Liquid itself is judged at compile."""
    problems = [_unknown(key) for key in message if key not in KEYS]
    for name, key in KEYS.items():
        if name not in message:
            if key.required:
                problems.append(MessageProblem("", f"{name} is missing"))
        elif said := _judge(name, key, message[name]):
            problems.append(said)
    sender = message.get("sender", "default")
    if isinstance(sender, str) and sender not in senders:
        problems.append(
            MessageProblem(
                "sender" if "sender" in message else "",
                f"heliograph.toml has no [sender.{sender}]",
                nearest(sender, senders),
            )
        )
    return problems


def _unknown(key: str) -> MessageProblem:
    if key in LATER:
        return MessageProblem(key, f"{key}: {LATER[key]} are not in this version")
    return MessageProblem(key, f"unknown key {key}", nearest(key, KEYS))


def _judge(name: str, key: Key, value: Any) -> MessageProblem | None:
    if not isinstance(value, str):
        return MessageProblem(name, f"{name} must be text, not {value!r}")
    if key.required and not value.strip():
        return MessageProblem(name, f"{name} must not be empty")
    if key.words and value not in key.words:
        return MessageProblem(
            name, f"{name} must be {' or '.join(key.words)}, not {value!r}", nearest(value, key.words)
        )
    return _judge_duration(name, value) if key.duration else None


def _judge_duration(name: str, value: str) -> MessageProblem | None:
    try:
        if ms(value) > 0:
            return None
    except ValueError:
        pass
    return MessageProblem(name, f"{name} must be a duration like PT6H, not {value!r}")
