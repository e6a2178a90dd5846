"""What has to be true of a plan document before it may come into force, and what changes when it does."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from heliograph import decide
from heliograph.ports import PlanRefused, PublishReport, Store
from heliograph.runtime.desk import CompileSchema, Published

NAMED: Final = {"segments": "segment", "journeys": "journey", "templates": "template", "schemas": "schema"}
"""Parts of a document that hold things by name -> what one is called."""
WHOLE: Final = ("policies", "project", "tzdata")
"""Parts that are compared as one."""
SWEPT: Final = frozenset({"segment", "journey", "policies", "project", "tzdata"})
"""Kinds of change that people have to be reconciled with; a new template or schema touches nobody."""
COMPLETE_SINCE: Final = "complete_since"
"""Meta value: {segment: ms}, since when its memberships are right (nothing is folded from history yet); 0: always."""

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
        return any(kind in SWEPT and what != "same" for kind, _, what in self.report.changes)


def prepare(
    document: Document,
    old: Document | None,
    version: int,
    active: set[tuple[str, str]],
    compile_schema: CompileSchema,
    load_template: LoadTemplate,
) -> Prepared:
    """Judge a document as the plan of this version.  ``active``: (journey, version) with runs under way, which stay
    beside the new versions.  :class:`PlanRefused` names everything that is wrong."""
    document = {**document, "pinned": {}}
    if old is not None:
        document["pinned"] = pinned(document, old, active)
        document["templates"] = {**orphaned(document, old), **document.get("templates", {})}
    problems = [*template_problems(document, load_template), *schema_problems(document, compile_schema)]
    try:
        plan = decide.compile_plan(document, version)
    except decide.PlanErrors as errors:
        problems += [(".".join(map(str, p.path)), p.message + hint(p.hint)) for p in errors.problems]
    if problems:
        raise PlanRefused(problems)
    report = PublishReport(version, changes(document, old), [str(warning) for warning in plan.warnings])
    return Prepared(Published(plan, compile_schema), canonical(document), report)


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
    """Templates that only pinned journeys still use."""
    used = {name for journey in document["pinned"].values() for name in sends(journey)}
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
    """(kind, name, added | changed | removed | same) of everything named in either."""
    old = old or {}
    found = [
        (kind, name, difference(old.get(part, {}).get(name), document.get(part, {}).get(name)))
        for part, kind in NAMED.items()
        for name in sorted({*old.get(part, {}), *document.get(part, {})})
    ]
    return found + [(part, part, difference(old.get(part), document.get(part))) for part in WHOLE]


def difference(old: Any, new: Any) -> str:
    if old is None:
        return "same" if new is None else "added"
    if new is None:
        return "removed"
    return "same" if canonical(old) == canonical(new) else "changed"


def complete_since(document: Document, old: Document | None, store: Store, at: int) -> dict[str, int]:
    """For each segment, since when it is right: one that did not change keeps its word."""
    if old is None:
        return dict.fromkeys(document.get("segments", {}), 0)
    known = read_complete_since(store)
    return {
        name: known.get(name, 0) if difference(old.get("segments", {}).get(name), segment) == "same" else at
        for name, segment in document.get("segments", {}).items()
    }


def read_complete_since(store: Store) -> dict[str, int]:
    return msgspec.msgpack.decode(store.meta(COMPLETE_SINCE) or b"\x80", type=dict[str, int])


def same_document(document: Document, old: Document | None) -> bool:
    """Whether publishing this would change nothing."""
    return old is not None and canonical({**document, "pinned": {}}) == canonical({**old, "pinned": {}})
