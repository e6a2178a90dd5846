"""The document of a plan, read into its parts: what is published, stored and exchanged, as canonical JSON.

Read leniently: every problem is noted with its path, and what could not be read is left out.  What a server added to
what a project wrote (older versions with runs, broadcasts under way, marks) is read even more leniently: it was judged
when it was published, and nothing that the project has dropped since stops it.
"""

from typing import Any, Final

import msgspec

from heliograph.decide.broadcasts import PREFIX, Broadcast, read_broadcast
from heliograph.decide.fresh import Marks, read_marks
from heliograph.decide.journeys.compile import compile_journey
from heliograph.decide.journeys.program import Journey
from heliograph.decide.parsing import Context, nearest
from heliograph.decide.policies import IMPLICIT_TOPIC, Policies, read_policies
from heliograph.decide.segments import Segments, compile_segments
from heliograph.decide.times import is_zone, zone_names

FORMAT: Final = 1
KEYS: Final = frozenset(
    {
        "format",
        "tzdata",
        "project",
        "policies",
        "segments",
        "journeys",
        "pinned",
        "templates",
        "schemas",
        "fresh",
        "kept",
        "broadcasts",
    }
)
"""``segments`` and ``journeys`` are as written in YAML, by name; ``templates``: compiled ones; ``schemas``: JSON
Schemas by event name.  The server adds ``pinned`` (``NAME@VERSION`` -> an older version of a journey whose runs go on),
``kept`` (templates that only pinned journeys and broadcasts use), ``fresh``
(:class:`heliograph.decide.fresh.Marks`) and ``broadcasts`` (id -> as written), those that are not over."""
SERVER_KEYS: Final = frozenset({"pinned", "fresh", "kept", "broadcasts"})


class Parts:
    """What the document says, read leniently: problems are in ``context``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.context = Context()
        keys = self.context.mapping(document, (), "a plan", KEYS) or {}
        if keys.get("format") != FORMAT:
            self.context.problem(("format",), f"this program reads plans of format {FORMAT}")
        self._project(_mapping(keys, "project", self.context))
        self.policies: Policies = read_policies(_mapping(keys, "policies", self.context), self.context)
        self.templates = _mapping(keys, "templates", self.context)
        self.segments: Segments = compile_segments(_mapping(keys, "segments", self.context), self.context)
        self.journeys = self._journeys(_mapping(keys, "journeys", self.context))
        self.pinned = self._pinned(_mapping(keys, "pinned", self.context))
        self.broadcasts = self._broadcasts(_mapping(keys, "broadcasts", self.context))
        self._check_names()
        self.marks = self._marks(keys.get("fresh"))
        self._check_templates()
        self._warn_lists()

    def _project(self, project: dict[str, Any]) -> None:
        context = self.context
        zone, scale = project.get("timezone", "UTC"), project.get("time_scale", 1)
        if not is_zone(zone):
            hint = nearest(zone, zone_names()) if isinstance(zone, str) else ""
            context.problem(("project", "timezone"), f"{zone!r} is not an IANA time zone", hint)
        elif isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale <= 1e9:
            context.problem(("project", "time_scale"), "`time_scale` is a number above 0")
        else:
            context.timezone, context.time_scale = zone, scale

    def _journeys(self, documents: dict[str, Any]) -> dict[str, Journey]:
        compiled = (
            compile_journey(name, documents[name], ("journeys", name), self.context, self.templates)
            for name in sorted(documents)
        )
        return {journey.name: journey for journey in compiled if journey is not None}

    def _pinned(self, documents: dict[str, Any]) -> list[Journey]:
        """Older versions.  One that does not read any more is dropped with a warning: its runs end."""
        found = []
        for label in sorted(documents):
            name = label.rpartition("@")[0] or label
            document = documents[label]
            context = self._lenient(document)
            if segment := _entry_segment(document):
                context.segments |= {segment}  # nobody enters here any more: it may be gone
            journey = compile_journey(name, document, ("pinned", label), context, None)
            if journey is not None and not context.problems:
                found.append(journey)
            else:
                why = "; ".join(map(str, context.problems))
                self.context.warn(("pinned", label), f"runs of this version end: {why}")
        return found

    def _broadcasts(self, documents: dict[str, Any]) -> dict[str, Broadcast]:
        """They were judged when they were started.  What the project has dropped since stops none of them: a segment
        that is gone has no members, a topic that is gone gets no mail."""
        found = {}
        for name in sorted(documents):
            context, document = self._lenient(documents[name]), documents[name]
            audience = document.get("audience") if isinstance(document, dict) else None
            if isinstance(audience, dict) and isinstance(segment := audience.get("segment"), str):
                context.segments |= {segment}
            elif isinstance(audience, dict) and isinstance(name_of_list := audience.get("list"), str):
                context.segments -= {name_of_list}
            one = read_broadcast(name, document, ("broadcasts", name), context, None)
            if one is not None and not context.problems:
                found[name] = one
            else:
                self.context.warn(("broadcasts", name), f"it ends: {'; '.join(map(str, context.problems))}")
        return found

    def _lenient(self, document: Any) -> Context:
        """For what was published before and goes on."""
        context = Context(
            segments=self.context.segments,
            topics=self.context.topics,
            time_scale=self.context.time_scale,
            timezone=self.context.timezone,
        )
        if isinstance(document, dict) and document.get("topic", IMPLICIT_TOPIC) not in context.topics:
            context.topics[str(document["topic"])] = "required"  # a topic that is gone: no more mail
        return context

    def _check_names(self) -> None:
        for part, names in (("segments", self.segments.by_name), ("journeys", self.journeys)):
            for name in names:
                if name.startswith(PREFIX):
                    self.context.problem((part, name), f"names that begin with {PREFIX!r} are those of broadcasts")

    def _marks(self, node: Any) -> Marks:
        try:
            return read_marks(node)
        except msgspec.ValidationError:
            self.context.problem(("fresh",), "`fresh` is written by the server: leave it out")
            return Marks()

    def _check_templates(self) -> None:
        for name, template in self.templates.items():
            if not isinstance(template, dict) or "version" not in template:
                self.context.problem(("templates", name), "this is no compiled template")
            elif 0 < (template.get("freshness_ms") or 0) <= self.policies.arbitrate_ms:
                message = "messages that `arbitrate` holds are stale before they are compared: make `freshness` longer"
                self.context.warn(("templates", name, "freshness"), message)

    def _warn_lists(self) -> None:
        for name in sorted(one for one in self.context.lists if not one.startswith(PREFIX)):
            message = f"{name!r} is no segment of this project: taken for an imported list"
            self.context.warn(("segments", name), message, nearest(name, self.context.segments))


def _mapping(keys: dict[str, Any], name: str, context: Context) -> dict[str, Any]:
    value = keys.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        context.problem((name,), f"`{name}` is a mapping")
        return {}
    return value


def as_written(document: dict[str, Any]) -> dict[str, Any]:
    """What a project wrote of a document, without what the server added when it was published."""
    kept = document.get("kept", ())
    templates = {name: text for name, text in document.get("templates", {}).items() if name not in kept}
    own = {name: part for name, part in document.items() if name not in SERVER_KEYS}
    return {**own, "templates": templates} if "templates" in own else own


def _entry_segment(journey: Any) -> str:
    entry = journey.get("entry") if isinstance(journey, dict) else None
    segment = entry.get("segment") if isinstance(entry, dict) else None
    return segment if isinstance(segment, str) else ""
