"""From a folder to a plan document, with every mistake on its line: what ``check``, ``plan``, ``apply`` and the first
start of a server share."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs

from heliograph import config, render
from heliograph.decide import Plan, PlanErrors, Problem, compile_plan
from heliograph.decide.broadcasts import read_broadcast
from heliograph.decide.parsing import nearest
from heliograph.decide.times import TZDATA_VERSION
from heliograph.project import paths, writes
from heliograph.project.finding import Finding, ProjectError, in_order
from heliograph.project.folder import Folder, TemplateSource, read_folder, report_unused
from heliograph.project.slips import slips
from heliograph.project.yaml import NodePath

FORMAT = 1
"""Of the plan document."""
MAX_ENCLOSED_BYTES = 10_000_000
"""Base64 of the files of all templates.  A publish sends them to each mailer in one frame of at most 64 MB, and mailers
keep those of earlier plans for messages that wait."""
WAYS_OUT = frozenset({"urls.unsubscribe", "urls.preferences"})


class Report(NamedTuple):
    """``document`` is the plan document, complete only when ``ok``."""

    findings: list[Finding]
    document: dict[str, Any]

    @property
    def ok(self) -> bool:
        return all(finding.warning for finding in self.findings)

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.warning]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.warning]


def check_project(root: Path, environ: Mapping[str, str] | None = None) -> Report:
    """Read and judge a whole project; never raises for what a user wrote."""
    settings = config.inspect(root, environ)
    folder = read_folder(root)
    findings = [*_config_findings(settings), *_key_findings(settings, root)]
    document = {
        "format": FORMAT,
        "tzdata": TZDATA_VERSION,
        "project": project_part(settings.raw),
        **folder.parts,
        "templates": _templates(folder, set(_table(settings.raw.get("sender")))),
    }
    findings += [*_unsigned(settings, folder), *_slips(document, folder)]
    _judge_schemas(folder)
    if not any(finding.file == config.FILE and not finding.warning for finding in findings):
        findings += _compile(document, folder)
    _judge_paths(document, folder)
    return Report(in_order([*findings, *folder.findings]), document)


def plan_document(root: Path, environ: Mapping[str, str] | None = None) -> tuple[dict[str, Any], list[Finding]]:
    """The plan document of a project and its warnings; :class:`ProjectError` with everything when it has errors."""
    report = check_project(root, environ)
    if not report.ok:
        raise ProjectError(report.findings)
    return report.document, report.warnings


def project_part(raw: dict[str, Any]) -> dict[str, Any]:
    """``project`` of the plan document: only what decisions and links depend on."""
    written = _table(raw.get("project"))
    fields = config.ProjectSetting(name="")
    return {
        "name": written.get("name", ""),
        "timezone": written.get("timezone", fields.timezone),
        "base_url": written.get("base_url", fields.base_url),
        "time_scale": written.get("time_scale", fields.time_scale),
    }


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _config_findings(settings: config.Inspection) -> list[Finding]:
    """Secrets may well live elsewhere than beside the project: their absence is only a warning here."""
    return [
        Finding(
            problem.source,
            problem.line,
            problem.message,
            problem.hint,
            problem.missing and problem.key in config.NOT_SHARED,
        )
        for problem in settings.problems
    ]


def _key_findings(settings: config.Inspection, root: Path) -> list[Finding]:
    found = []
    for name, sender in _table(settings.raw.get("sender")).items():
        signers = _table(sender).get("dkim", [])
        for signer in signers if isinstance(signers, list) else []:
            file = _table(signer).get("key_file")
            if isinstance(file, str) and not (root / file).is_file():
                text = f"the DKIM key {file} of [sender.{name}] is not here; a server with this project needs it"
                found.append(Finding(config.FILE, None, text, warning=True))
    return found


def _unsigned(settings: config.Inspection, folder: Folder) -> list[Finding]:
    """A journey with a webhook, and no secret to sign its requests with."""
    if _table(settings.raw.get("webhooks")).get("secrets"):
        return []
    found = next(_steps(folder.parts["journeys"], "webhook", ("journeys",)), None)
    said = (
        "no secret signs the requests of this step, so whoever gets them cannot tell them from forged ones; "
        "set [webhooks] secrets in heliograph.toml or HELIOGRAPH_WEBHOOKS_SECRETS"
    )
    return [Finding(*folder.locate(found), said, warning=True)] if found else []


def _slips(document: dict[str, Any], folder: Folder) -> list[Finding]:
    return [
        Finding(*folder.locate(path), f"no schema is called {name!r}", hint, warning=True)
        for path, name, hint in slips(document)
    ]


def _steps(node: Any, verb: str, path: NodePath) -> Iterator[NodePath]:
    """Paths of every step with this verb."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        if key == verb and isinstance(value, dict) and isinstance(path[-1], int):
            yield (*path, key)
        yield from _steps(value, verb, (*path, key))


# -- templates --


def _templates(folder: Folder, senders: set[str]) -> dict[str, Any]:
    """Compile each; one that fails is replaced by an empty one, so that journeys that send it are not wrong as well."""
    compiled = {name: _stand_in(name) for name in folder.template_names}
    for name, source in folder.templates.items():
        if made := _compile_template(folder, source):
            compiled[name] = made
            _judge_sender(folder, name, made["sender"], senders)
            _judge_way_out(folder, source, made)
            directory = folder.locate(("templates", name))[0].rpartition("/")[0]
            report_unused(folder, directory, source.files.keys() - {one["file"] for one in _enclosed(made)})
    _judge_weight(folder, compiled)
    return compiled


def _judge_weight(folder: Folder, compiled: dict[str, dict[str, Any]]) -> None:
    """Files of all templates together; the template that goes beyond is told."""
    total = 0
    for name, made in compiled.items():
        total += sum(len(one["data"]) for one in _enclosed(made))
        if total > MAX_ENCLOSED_BYTES:
            said = (
                f"up to here the files of all templates have more than {MAX_ENCLOSED_BYTES // 1_000_000} MB in base64"
            )
            folder.report(*folder.locate(("templates", name)), f"{said}: link to the largest instead")
            return


def _enclosed(made: dict[str, Any]) -> list[dict[str, str]]:
    return [*made.get("attachments", ()), *made.get("images", ())]


def _judge_way_out(folder: Folder, source: TemplateSource, made: dict[str, Any]) -> None:
    """The mail program's own button is there in any case, but not every program shows one."""
    if made["class"] == "marketing" and WAYS_OUT.isdisjoint(made["paths"]):
        directory = folder.locate(("templates", source.name))[0].rpartition("/")[0]
        said = "marketing mail without a link to {{ urls.unsubscribe }} or {{ urls.preferences }}"
        folder.report(f"{directory}/body.{source.kind}", None, said, warning=True)


def _judge_sender(folder: Folder, name: str, sender: str, senders: set[str]) -> None:
    if senders and sender not in senders:
        file, line = folder.locate(("templates", name, "sender"))
        folder.report(file, line, f"heliograph.toml has no [sender.{sender}]", nearest(sender, senders))


def _stand_in(name: str) -> dict[str, Any]:
    return {"name": name, "version": "", "subject": "", "preheader": "", "html": "", "text": "", "sender": "default",
            "class": "marketing", "freshness_ms": None, "on_unknown": "hold", "links": [], "last": [],
            "paths": []}  # fmt: skip


def _compile_template(folder: Folder, source: TemplateSource) -> dict[str, Any] | None:
    try:
        return render.compile_template(*source)
    except render.TemplateError as error:
        folder.broken.add(("templates", source.name))
        directory = folder.locate(("templates", source.name))[0].rpartition("/")[0]
        for problem in error.problems:
            line = _message_line(folder, source, problem) if problem.file == "message.yaml" else problem.line
            sentence, _, hint = problem.sentence.partition("; did you mean ")
            folder.report(f"{directory}/{problem.file}", line, sentence, hint.strip("'?"))
    return None


def _message_line(folder: Folder, source: TemplateSource, problem: render.Problem) -> int | None:
    """The line of the key that a problem of ``message.yaml`` is about: it names the key first, and Liquid's own line
    counts from the beginning of the subject or preheader."""
    if item := re.match(r"attachments\[(\d+)\]", problem.sentence):
        return folder.locate(("templates", source.name, "attachments", int(item[1])))[1]
    named = re.match(r"(?:unknown key )?'?([\w-]+)", problem.sentence)
    key = named[1] if named and named[1] in source.message else ""
    if problem.line is not None:
        key = next((one for one in ("subject", "preheader") if "{" in str(source.message.get(one))), "")
    return folder.locate(("templates", source.name, key))[1]


def _judge_paths(document: dict[str, Any], folder: Folder) -> None:
    events, answers = paths.entry_events(document["journeys"]), paths.answers(document["journeys"])
    for name, template in document["templates"].items():
        found = paths.problems_of(template["paths"], events.get(name, set()), document["schemas"])
        if name in answers:
            found += paths.unanswered(template["paths"], answers[name])
        for problem in found:
            file, line = _first_use(folder, name, problem.path)
            folder.report(file, line, problem.message, problem.hint, warning=problem.warning)
    for place, problem in writes.problems(document["journeys"], document["schemas"]):
        if not folder.is_broken(place):
            folder.report(*folder.locate(place), problem.message, problem.hint, warning=problem.warning)


def _first_use(folder: Folder, name: str, path: str) -> tuple[str, int | None]:
    """Where a template reads a variable for the first time."""
    source = folder.templates[name]
    directory = folder.locate(("templates", name))[0].rpartition("/")[0]
    texts = [(f"body.{source.kind}", source.body.decode()), ("body.txt", source.text or "")]
    for spelling in paths.spellings(path):
        for key in ("subject", "preheader"):
            if spelling in str(source.message.get(key, "")):
                return folder.locate(("templates", name, key))
        for body, text in texts:
            if (at := text.find(spelling)) >= 0:
                return f"{directory}/{body}", text[:at].count("\n") + 1
    return f"{directory}/body.{source.kind}", None


# -- schemas and the plan --


def _judge_schemas(folder: Folder) -> None:
    for name, schema in folder.parts["schemas"].items():
        try:
            jsonschema_rs.Draft202012Validator(schema)
        except (jsonschema_rs.ValidationError, ValueError) as error:
            said = getattr(error, "message", None) or str(error)
            file, line = folder.locate(("schemas", name))
            folder.report(file, line, f"not a JSON Schema (2020-12): {said}")


def _compile(document: dict[str, Any], folder: Folder) -> list[Finding]:
    """What the brain says of the document, on the lines of the files."""
    try:
        plan = compile_plan(document, 1)
    except PlanErrors as error:
        shown = [(problem, False) for problem in error.problems]
    else:
        shown = [(problem, True) for problem in plan.warnings]
        shown += [(problem, False) for problem in _broadcast_problems(plan, folder)]
    return [
        Finding(*folder.locate(_place(problem.path, document, folder)), problem.message, problem.hint, warning)
        for problem, warning in shown
        if not folder.is_broken(problem.path)
    ]


def _broadcast_problems(plan: Plan, folder: Folder) -> list[Problem]:
    """Their times are not judged: last year's may well lie there."""
    context = plan.reading()
    for name, node in folder.broadcasts.items():
        read_broadcast(name, node, ("broadcasts", name), context, plan.templates)
    return context.problems


def _place(path: NodePath, document: dict[str, Any], folder: Folder) -> NodePath:
    """Where to show a problem: a segment that is not there is shown where it is asked for first."""
    if path[:1] != ("segments",) or len(path) < 2 or folder.has(path):
        return path
    parts = {kind: document[kind] for kind in ("segments", "journeys")}
    return next(_asking(parts, path[1], ()), path)


def _asking(node: Any, segment: str | int, path: NodePath) -> Iterator[NodePath]:
    """Paths of every ``in_segment: SEGMENT``."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        if key == "in_segment" and value == segment:
            yield (*path, key)
        yield from _asking(value, segment, (*path, key))
