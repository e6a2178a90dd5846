"""Is the way through a journey sound?  Steps that nobody reaches, circles, and mail that goes out again and again."""

from collections.abc import Iterable, Sequence

from heliograph.decide.journeys.program import Branch, Emit, Goto, Send, Split, Step, Update, successors
from heliograph.decide.parsing import Context, JsonPath

INSTANT = (Branch, Split, Goto)
"""Steps that take no time and change nothing: who comes round them once comes round for ever."""
QUICK = (*INSTANT, Update, Emit)
"""Steps that take no time."""


def judge(program: Sequence[Step], start: int, paths: list[JsonPath], context: Context) -> None:
    """Warn, and refuse what could only ever be cut."""
    reached = reachable(program, [start])
    for at in _outermost(set(range(len(program))) - reached, paths):
        context.warn(paths[at], "this step is never reached")
    if (instant := circle(program, INSTANT)) is not None:
        context.problem(paths[instant], "this loop never waits: who goes round it once would go round for ever")
    elif (quick := circle(program, QUICK)) is not None:
        context.warn(paths[quick], "this loop waits for nothing: a run that goes round it at once is cut")
    for at in sorted(reached):
        if isinstance(program[at], Send) and at in reachable(program, successors(program[at])):
            context.warn(paths[at], "this `send` is in a loop: it mails again each time round")


def reachable(program: Sequence[Step], places: Iterable[int]) -> set[int]:
    """Every place that a run may come to from these, with them."""
    reached: set[int] = set()
    ahead = list(places)
    while ahead:
        at = ahead.pop()
        if at >= 0 and at not in reached:
            reached.add(at)
            ahead += successors(program[at])
    return reached


def circle(program: Sequence[Step], kinds: tuple[type[Step], ...]) -> int | None:
    """The first place from which steps of these kinds alone lead back to it."""
    inner = {at: step for at, step in enumerate(program) if isinstance(step, kinds)}
    ways = {at: [to for to in successors(step) if to in inner] for at, step in inner.items()}
    pending = {at: len(to) for at, to in ways.items()}
    came_from: dict[int, list[int]] = {at: [] for at in inner}
    for at, to in ways.items():
        for one in to:
            came_from[one].append(at)
    done = [at for at, count in pending.items() if not count]
    while done:  # whoever leads only out of the circle is none of it
        for before in came_from[done.pop()]:
            pending[before] -= 1
            if not pending[before]:
                done.append(before)
    return min((at for at, count in pending.items() if count), default=None)


def _outermost(missing: set[int], paths: list[JsonPath]) -> list[int]:
    """Without the places nested in another one."""
    outer = {paths[at] for at in missing}
    return [at for at in sorted(missing) if not any(paths[at][:n] in outer for n in range(len(paths[at])))]
