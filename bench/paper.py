"""The arithmetic of docs/scale.md: what a load asks of each stage, from the figures of one run of ``bench pipeline``.

    python -m bench pipeline --json figures.json
    python -m bench.paper figures.json --events 100000 --messages 10000000

``--events``: a second, in batches; ``--messages``: of broadcasts, an hour.  Prints Markdown.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import msgspec

EVENT = "an event, in batches of 100, a queue before each stage"
MESSAGE = "a message of a broadcast, 10 KB, RSA-2048"
BUSY = 0.6
"""Of a core, at most: what comes in waves, and what is caught up after something was away, needs the rest."""
COPIES = 3
"""Replicas of each Kafka partition; one was measured, so brokers and bytes are counted three times."""
STAGES = ("collector", "Kafka, one broker", "Flink, TaskManagers", "PostgreSQL", "worker", "mailer")

Costs = dict[str, dict[str, float]]


def costs(file: Path) -> Costs:
    """What -> stage -> us or bytes."""
    found: Costs = defaultdict(dict)
    for figure in msgspec.json.decode(file.read_bytes())["figures"]:
        if figure["bench"] == "pipeline":
            what, _, stage = figure["name"].rpartition(": ")
            found[what][stage] = max(figure["value"], 0.0)
    return found


def per_million(found: Costs) -> str:
    """Core-seconds of each stage for a million of each."""
    lines = ["| Core-seconds for a million of | " + " | ".join(STAGES) + " | all |", "|" + "---|" * (len(STAGES) + 2)]
    for what, stages in found.items():
        cells = [f"{stages[name]:,.0f}" for name in STAGES]
        lines.append(f"| {what} | {' | '.join(cells)} | {sum(stages[name] for name in STAGES):,.0f} |")
    return "\n".join(lines)


def layout(found: Costs, events: float, messages: float) -> str:
    """``messages``: a second."""
    lines = ["| Stage | events: cores busy | messages: cores busy | cores to have |", "|---|---|---|---|"]
    for name in STAGES:
        times = COPIES if name.startswith("Kafka") else 1
        busy = [found[what][name] * rate * times / 1e6 for what, rate in ((EVENT, events), (MESSAGE, messages))]
        lines.append(f"| {name} | {busy[0]:,.1f} | {busy[1]:,.1f} | {sum(busy) / BUSY:,.0f} |")
    return "\n".join(lines)


def disk(found: Costs, events: float, messages: float) -> str:
    lines = ["| Written | bytes an event | bytes a message | MB/s, all copies |", "|---|---|---|---|"]
    for name in (one for one in found[EVENT] if one not in (*STAGES, "all of it")):
        each = [found[what][name] for what in (EVENT, MESSAGE)]
        total = (each[0] * events + each[1] * messages) * (COPIES if name.startswith("Kafka") else 1) / 1e6
        lines.append(f"| {name} | {each[0]:,.0f} | {each[1]:,.0f} | {total:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--events", type=float, default=100_000)
    parser.add_argument("--messages", type=float, default=10_000_000)
    given = parser.parse_args()
    found, messages = costs(given.figures), given.messages / 3_600
    print(per_million(found), layout(found, given.events, messages), disk(found, given.events, messages), sep="\n\n")


if __name__ == "__main__":
    main()
