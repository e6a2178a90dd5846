"""Runs in the environment of requirements.lock: Helm itself (its Go library), and the schemas of Kubernetes.

One question as the first word, what it needs as JSON on standard input, the answer as JSON on standard output.
"""

import json
import sys
from typing import Any

import yaml

KUBERNETES = "1.31"


def render(chart: str, values: dict[str, Any]) -> list[Any]:
    """Every manifest of a release named ``shop``."""
    import helm_python

    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        texts = loaded.render(values, name="shop", namespace="mail")
    documents = [
        one
        for name, text in sorted(texts.items())
        if not name.endswith("NOTES.txt")
        for one in yaml.safe_load_all(text)
    ]
    return [document for document in documents if document]


def refuses(chart: str, values: dict[str, Any]) -> str:
    """What values.schema.json says against these values; empty when nothing."""
    import helm_python

    with helm_python.Chart.load(chart) as loaded:
        try:
            loaded.validate_schema(values)
        except helm_python.HelmError as error:
            return str(error) or type(error).__name__
    return ""


def lint(chart: str, values: dict[str, Any]) -> list[Any]:
    """Findings of ``helm lint --strict`` (severity 2: warning, 3: error)."""
    import helm_python

    said = helm_python.lint(chart, values, strict=True, kube_version=f"v{KUBERNETES}.0")
    return [one for one in said["messages"] if one["severity"] >= 2] + said["errors"]


def judge(manifests: list[Any]) -> list[str]:
    """What Kubernetes' own schemas (strict: no unknown field) say against them."""
    import kubernetes_validate

    wrong = []
    for manifest in manifests:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            wrong.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}"[:500])
    return wrong


QUESTIONS = {"render": render, "refuses": refuses, "lint": lint, "judge": judge}

if __name__ == "__main__":
    json.dump(QUESTIONS[sys.argv[1]](**json.load(sys.stdin)), sys.stdout)
