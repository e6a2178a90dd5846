"""What a benchmark says: figures, each beside its target and its limit or peer."""

import platform
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

SHORT_UNITS = {"ratio": "x"}


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``value`` None: not measured, and ``note`` says why.  ``target``: design, section 10.  ``beside``: the limit or
    peer of the same run.  ``cpu_us``: CPU time of our processes for each event or message."""

    bench: str
    name: str
    value: float | None
    unit: str
    target: str = ""
    beside: str = ""
    cpu_us: float | None = None
    processes: int | None = None
    note: str = ""

    @property
    def text(self) -> str:
        return "not measured" if self.value is None else f"{amount(self.value)} {SHORT_UNITS.get(self.unit, self.unit)}"


def amount(value: float) -> str:
    """Three significant digits, whole from a hundred on."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class Report:
    """Prints each figure as it comes, a table at the end."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self._machine = machine()
        self._console = Console(width=200 if not sys.stdout.isatty() else None, highlight=False)

    def add(
        self, bench: str, name: str, value: float | None, unit: str, *, target: str = "", beside: str = "",
        cpu_us: float | None = None, processes: int | None = None, note: str = "",
    ) -> Figure:  # fmt: skip
        figure = Figure(
            bench=bench, name=name, value=value, unit=unit, target=target, beside=beside, cpu_us=cpu_us,
            processes=processes, note=note,
        )  # fmt: skip
        self.figures.append(figure)
        parts = [f"{figure.bench}: {figure.name}: {figure.text}"]
        parts += [f"target {target}"] if target else []
        parts += [f"beside {beside}"] if beside else []
        parts += [f"cpu {amount(cpu_us)} us each"] if cpu_us is not None else []
        parts += [f"{processes} processes"] if processes else []
        parts += [note] if note else []
        print("; ".join(parts), flush=True)
        return figure

    def table(self) -> None:
        table = Table(title=self._machine, title_justify="left")
        for column in ("benchmark", "what", "ours", "target", "limit or peer, same run", "cpu us", "procs", "note"):
            table.add_column(column, justify="right" if column in ("ours", "cpu us", "procs") else "left")
        last = ""
        for one in self.figures:
            table.add_row(
                one.bench if one.bench != last else "", one.name, one.text, one.target, one.beside,
                "" if one.cpu_us is None else amount(one.cpu_us), str(one.processes or ""), one.note,
            )  # fmt: skip
            last = one.bench
        self._console.print(table)

    def save(self, path: Path) -> None:
        body = {"machine": self._machine, "figures": self.figures}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(body)) + b"\n")


def machine() -> str:
    """Cores, model, kernel, Python, and how busy the machine was before us."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    load = Path("/proc/loadavg").read_text().split()[0]
    model = models[0] if models else platform.machine()
    cores = len(models) or 1
    return f"{cores} cores, {model}, Linux {platform.release()}, Python {platform.python_version()}, load {load}"
