"""Is the way through a journey sound?  Steps that nobody reaches, circles, and mail that goes out again and again."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from heliograph.decide.journeys.program import (
    Branch,
    Emit,
    Goto,
    Send,
    Split,
    Step,
    Update,
    Wait,
    WaitDate,
    Webhook,
    Window,
    successors,
)
from heliograph.decide.parsing import Context, JsonPath
from heliograph.decide.times import MINUTE

INSTANT: Final = (Branch, Split, Goto)
"""Steps that take no time and change nothing: who comes round them once comes round for ever."""
QUICK: Final = (*INSTANT, Update, Emit)
"""Steps that take no time."""
Ways: TypeAlias = Sequence[tuple[int, ...]]
"""From each place to the places behind it."""
FLOODING: Final = (Send, Window, WaitDate)
"""Steps that may be over in no time, too: a loop of them mails as fast as the relay takes it."""
SHORT_MS: Final = MINUTE
"""A wait shorter than this slows no loop down enough."""


def judge(program: Sequence[Step], start: int, paths: list[JsonPath], context: Context) -> None:
    """Warn, and refuse what could only ever be cut."""
    ways = [successors(step) for step in program]
    reached = reachable(ways, [start])
    for at in _outermost(set(range(len(program))) - reached, paths):
        context.warn(paths[at], "this step is never reached")
    instants = {at for at, step in enumerate(program) if isinstance(step, INSTANT)}
    quick_ones = {at for at, step in enumerate(program) if isinstance(step, QUICK)}
    busy_ones = {at for at, step in enumerate(program) if is_busy(step, context.time_scale)}
    flood_ones = busy_ones | {at for at, step in enumerate(program) if isinstance(step, FLOODING)}
    sends = {at for at, step in enumerate(program) if isinstance(step, Send)}
    if (instant := circle(ways, instants)) is not None:
        context.problem(paths[instant], "this loop never waits: who goes round it once would go round for ever")
    elif (flood := circle(ways, flood_ones, sends)) is not None:
        context.problem(paths[flood], "this loop mails without a pause: put a `wait` of a minute or more into it")
    elif (quick := circle(ways, quick_ones)) is not None:
        context.warn(paths[quick], "this loop waits for nothing: a run that goes round it at once is cut")
    elif (busy := circle(ways, busy_ones)) is not None:
        context.warn(paths[busy], "this loop may take less than a minute each time round: let it wait longer")
    for at in sorted(reached & sends):
        if at in reachable(ways, ways[at]):
            context.warn(paths[at], "this `send` is in a loop: it mails again each time round")


def reachable(ways: Ways, places: Iterable[int], within: set[int] | None = None) -> set[int]:
    """Every place that a run may come to from these, with them; ``within``: by way of these places only."""
    reached: set[int] = set()
    ahead = list(places)
    while ahead:
        at = ahead.pop()
        if at >= 0 and at not in reached and (within is None or at in within):
            reached.add(at)
            ahead += ways[at]
    return reached


def is_busy(step: Step, time_scale: float) -> bool:
    """Whether a step may be over in less than :data:`SHORT_MS`, time as it is when nothing is scaled."""
    if isinstance(step, Wait):
        return not step.duration.calendar and step.duration.ms * time_scale < SHORT_MS
    return isinstance(step, (*QUICK, Webhook))


def circle(ways: Ways, inner: set[int], among: set[int] | None = None) -> int | None:
    """The first place (``among`` those) from which the ``inner`` places alone lead back to it."""
    places = sorted(inner if among is None else among)
    return next((at for at in places if at in reachable(ways, ways[at], inner)), None)


def _outermost(missing: set[int], paths: list[JsonPath]) -> list[int]:
    """Without the places nested in another one."""
    outer = {paths[at] for at in missing}
    return [at for at in sorted(missing) if not any(paths[at][:n] in outer for n in range(len(paths[at])))]
