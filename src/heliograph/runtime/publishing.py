"""What has to be true of a plan document before it may come into force, and what changes when it does."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from heliograph import decide
from heliograph.ports import PlanRefused, PublishReport, Store
from heliograph.runtime.desk import CompileSchema, Published
from heliograph.runtime.retention import HISTORY_MS

NAMED: Final = {"segments": "segment", "journeys": "journey", "templates": "template", "schemas": "schema"}
"""Parts of a document that hold things by name -> what one is called."""
WHOLE: Final = ("policies", "project", "tzdata")
"""Parts that are compared as one."""
SWEPT: Final = frozenset({"segment", "journey", "policies", "project", "tzdata"})
"""Kinds of change that people have to be reconciled with; a new template or schema touches nobody."""
RESTS: Final = frozenset({"same", "kept"})
"""Words for what did not change."""
COMPLETE_SINCE: Final = "leaves_since"
"""Meta value: :func:`leaves_since` of the plan in force."""

LoadTemplate = Callable[[dict[str, Any]], object]
Document = dict[str, Any]
Change = tuple[str, str, str]


def canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


class Prepared(msgspec.Struct, frozen=True):
    """A plan that may come into force."""

    published: Published
    document: bytes
    report: PublishReport

    @property
    def sweeps(self) -> bool:
        return any(kind in SWEPT and what not in RESTS for kind, _, what in self.report.changes)

    @property
    def segments(self) -> list[str]:
        """Those that a sweep has to make right, and those that ask them."""
        changed = {name for kind, name, what in self.report.changes if kind == "segment" and what not in RESTS}
        plan = self.published.plan
        found = plan.segments.by_name.keys() & (changed | plan.fresh.building.keys())
        for name, segment in plan.segments.by_name.items():  # in dependency order
            if any(not leaf.segments.isdisjoint(found) for leaf in segment.condition.leaves):
                found.add(name)
        return sorted(found)


def prepare(
    document: Document,
    old: decide.Plan | None,
    active: set[tuple[str, str]],
    swept: int | None,
    compile_schema: CompileSchema,
    load_template: LoadTemplate,
    live: Collection[str] | None = None,
) -> Prepared:
    """Judge a document as the plan that follows ``old``.  ``active``: (journey, version) with runs under way, which
    stay beside the new versions.  ``live``: the broadcasts that are not over, None for all of the old plan's.
    ``swept``: the plan up to which everybody was swept, None while a sweep is under way.  :class:`PlanRefused` names
    everything that is wrong."""
    version = 1 if old is None else old.version + 1
    before = None if old is None else old.document
    document = completed(document, before, active, live)
    problems = [*template_problems(document, load_template), *schema_problems(document, compile_schema)]
    try:
        plan = decide.compile_plan(document, version)
    except decide.PlanErrors as errors:
        problems += [(".".join(map(str, p.path)), p.message + hint(p.hint)) for p in errors.problems]
    if problems:
        raise PlanRefused(problems)
    if old is not None:
        plan = plan.marked(decide.marks_after(plan, old, 0 if swept is None else swept))
    report = PublishReport(version, changes(document, before), [str(warning) for warning in plan.warnings])
    return Prepared(Published(plan, compile_schema), canonical(plan.document), report)


def prepare_broadcasts(broadcasts: Mapping[str, Any], old: Published, swept: int | None) -> Prepared:
    """The plan that follows when these become its broadcasts, and nothing else changes.  ``swept``: as for
    :func:`prepare`.  :class:`~heliograph.decide.PlanErrors` when one of them is not sound."""
    plan = old.plan.with_broadcasts(broadcasts, 0 if swept is None else swept)
    return Prepared(old.with_plan(plan), canonical(plan.document), PublishReport(plan.version, []))


def completed(
    document: Document, old: Document | None, active: set[tuple[str, str]], live: Collection[str] | None = None
) -> Document:
    """What was written, with what the server adds to it; a copy, which nobody else changes."""
    document = {**msgspec.json.decode(canonical(decide.as_written(document))), "pinned": {}}
    if old is not None:
        document["pinned"] = pinned(document, old, active)
        carried = {name: one for name, one in old.get("broadcasts", {}).items() if live is None or name in live}
        if carried:
            document["broadcasts"] = carried
        if kept := orphaned(document, old):
            document["kept"] = sorted(kept)
            document["templates"] = {**kept, **document.get("templates", {})}
    return document


def hint(word: str) -> str:
    return f" (did you mean {word}?)" if word else ""


def pinned(document: Document, old: Document, active: set[tuple[str, str]]) -> dict[str, Any]:
    """Journeys by ``NAME@VERSION`` that may still have runs: the ones that this document replaces (a run may start
    until the switch), and older ones with runs under way."""
    present = {(name, decide.journey_version(text)) for name, text in document.get("journeys", {}).items()}
    replaced = {(name, decide.journey_version(text)): text for name, text in old.get("journeys", {}).items()}
    older = {}
    for label, text in old.get("pinned", {}).items():
        name, _, version = label.rpartition("@")
        if (name, version) in active:
            older[name, version] = text
    return {f"{n}@{v}": text for (n, v), text in {**older, **replaced}.items() if (n, v) not in present}


def orphaned(document: Document, old: Document) -> dict[str, Any]:
    """Templates that only pinned journeys and broadcasts still use."""
    used = {name for journey in document["pinned"].values() for name in sends(journey)}
    used |= {one["template"] for one in document.get("broadcasts", {}).values()}
    known = document.get("templates", {})
    return {name: text for name, text in old.get("templates", {}).items() if name in used and name not in known}


def sends(node: Any) -> Iterator[str]:
    """Every template that a journey's steps name."""
    if isinstance(node, Mapping):
        if isinstance(name := node.get("send"), str):
            yield name
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from sends(child)


def template_problems(document: Document, load_template: LoadTemplate) -> Iterator[tuple[str, str]]:
    for name, compiled in document.get("templates", {}).items():
        try:
            load_template(compiled)
        except Exception as error:
            yield f"templates.{name}", str(error)


def schema_problems(document: Document, compile_schema: CompileSchema) -> Iterator[tuple[str, str]]:
    for name, schema in document.get("schemas", {}).items():
        try:
            compile_schema(schema)
        except Exception as error:
            yield f"schemas.{name}", str(error)


def changes(document: Document, old: Document | None) -> list[Change]:
    """(kind, name, added | changed | removed | kept | same) of everything named in either.  A template is ``kept``
    when the project has dropped it and runs of older versions still send it."""
    old, kept = old or {}, document.get("kept", ())
    found = [
        (
            kind,
            name,
            "kept"
            if part == "templates" and name in kept
            else difference(written(old, part).get(name), document.get(part, {}).get(name)),
        )
        for part, kind in NAMED.items()
        for name in sorted({*written(old, part), *document.get(part, {})})
    ]
    return found + [(part, part, difference(old.get(part), document.get(part))) for part in WHOLE]


def written(document: Document, part: str) -> dict[str, Any]:
    """This part as the project has it."""
    kept = document.get("kept", ()) if part == "templates" else ()
    return {name: one for name, one in document.get(part, {}).items() if name not in kept}


def difference(old: Any, new: Any) -> str:
    if old is None:
        return "same" if new is None else "added"
    if new is None:
        return "removed"
    return "same" if canonical(old) == canonical(new) else "changed"


def leaves_since(plan: decide.Plan, old: decide.Plan | None, store: Store, at: int) -> dict[str, int]:
    """Condition id -> since when all that happened is known to it (ms), where that is not always: one that the plan
    before did not ask knows what history holds, and history does not hold everything for ever."""
    known = read_since(store)
    begun = min((published_at for _, published_at in store.plans()), default=at)
    reach = at - HISTORY_MS if begun < at - HISTORY_MS else 0
    before = plan.leaves.leaves if old is None else old.leaves.leaves
    asked = (leaf.id for leaf in plan.leaves.leaves.values() if leaf.observes)
    found = {leaf_id: known.get(leaf_id, 0) if leaf_id in before else reach for leaf_id in asked}
    return {leaf_id: since for leaf_id, since in found.items() if since}


def read_since(store: Store) -> dict[str, int]:
    return msgspec.msgpack.decode(store.meta(COMPLETE_SINCE) or b"\x80", type=dict[str, int])


def complete_since(plan: decide.Plan, leaves: Mapping[str, int]) -> dict[str, int]:
    """Segment -> since when everything that it counts is known (ms), 0: always."""
    found: dict[str, int] = {}
    for name, segment in plan.segments.by_name.items():  # in dependency order
        asked = segment.condition.leaves
        named = (found.get(other, 0) for leaf in asked for other in leaf.segments)
        found[name] = max((*(leaves.get(leaf.id, 0) for leaf in asked), *named), default=0)
    return found


def same_document(document: Document, old: Document | None) -> bool:
    """Whether publishing this would change nothing."""
    return old is not None and canonical(decide.as_written(document)) == canonical(decide.as_written(old))
