"""What a template sees while it is rendered: names, values that are missing, the message around it."""

from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Any, Protocol, TextIO, cast

from liquid.builtin.expressions import Path
from liquid.builtin.expressions.primitive import Blank, RangeLiteral
from liquid.context import RenderContext
from liquid.exceptions import LoopIterationLimitError, OutputStreamLimitError
from liquid.template import BoundTemplate
from liquid.token import Token
from liquid.undefined import UNDEFINED
from liquid.utils import ReadOnlyChainMap

from heliograph.render.errors import Skip

MAX_OUTPUT = 1_000_000
"""Characters one part may grow to; Gmail clips at about 100 KB, relays refuse at 10 to 25 MB."""

MAX_ITERATIONS = 20_000
"""Of nested loops together: 2,500 lines of a big order, eight times over."""
MAX_TURNS = 200_000
"""Of all loops of a part added up: ten times what loops in one another may do; some half a second when interpreted."""
TURNS_TO_BEGIN = 10
"""What beginning a loop costs, in turns."""


class Missing:
    """The value of a path that has none: nil to python-liquid, but it knows ``path``, as the template wrote it."""

    __slots__ = ("path",)
    force_liquid_default = True

    def __init__(self, path: str) -> None:
        self.path = path

    def __liquid__(self) -> None:
        return None

    def __repr__(self) -> str:
        return f"Missing({self.path!r})"

    def __str__(self) -> str:
        raise Skip(f"missing: {self.path}")

    def __int__(self) -> int:
        raise Skip(f"missing: {self.path}")

    def __getitem__(self, key: object) -> object:
        return Missing(path_text([self.path, key]))


class BlankOrNil(Blank):
    """``blank`` as Shopify has it, where nil is blank too: ``{% if profile.name != blank %}`` is a guard."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return other is None or super().__eq__(other)


class NamedPath(Path):
    """A path of names and indexes only: nothing in it to evaluate."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return context.get(cast(list[object], self.path), token=self.token)


class ShortRange(RangeLiteral):
    """A range that can be walked through.  Filters, ``reversed`` and ``contains`` do so whatever its length: one number
    in a person's data would be enough to fill the memory."""

    __slots__ = ()
    __hash__ = RangeLiteral.__hash__

    def _make_range(self, start: object, stop: object) -> range:
        made = super()._make_range(start, stop)
        if made.stop - made.start > MAX_ITERATIONS:
            raise LoopIterationLimitError("loop iteration limit reached", token=None)
        return made


class Mail(Protocol):
    """The message around a template: what our own tags ask for.  Both answer HTML."""

    def tracked(self, url: str) -> str:
        """The link to write for this destination."""
        ...

    def closing(self) -> str:
        """What stands before ``</body>``: postal address, opt-out and open pixel, as far as the template lacks them."""
        ...


class Buffer:
    """Collects output, up to :data:`MAX_OUTPUT` characters.  Stands in for a text file."""

    __slots__ = ("_parts", "_room")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = MAX_OUTPUT

    def write(self, text: str) -> int:
        self._room -= len(text)
        if self._room < 0:
            raise OutputStreamLimitError(f"more than {MAX_OUTPUT:,} characters", token=None)
        self._parts.append(text)
        return len(text)

    def getvalue(self) -> str:
        return "".join(self._parts)


class Scope(ReadOnlyChainMap):
    """The library's chain of names, without an exception for each link that lacks one."""

    def __getitem__(self, key: str) -> object:
        for names in self._maps:
            if key in names:
                return names[key]
        raise KeyError(key)


class Context(RenderContext):
    """Names, and the message they are for.  ``zone`` is the person's."""

    __slots__ = ("mail", "turns", "zone")

    def __init__(self, template: BoundTemplate, *, globals: Mapping[str, object] | None = None, **kwargs: Any) -> None:
        super().__init__(template, globals=globals, **kwargs)
        self.scope = Scope(self.locals, self.globals, self.counters)  # without the library's clock
        self.autoescape = False  # ours happens at output; here it would exempt literals
        self.mail: Mail | None = None
        self.zone: tzinfo = UTC
        self.turns = 0

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Asked as each loop begins: the library multiplies loops in one another, we add those behind one another."""
        self.turns += length + TURNS_TO_BEGIN
        if self.turns > MAX_TURNS:
            raise LoopIterationLimitError("loop iteration limit reached", token=None)
        super().raise_for_loop_limit(length)

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        try:
            value = self.scope[cast(str, path[0])]
            for segment in path[1:]:
                value = value[segment] if type(value) is dict and segment in value else self.get_item(value, segment)
        except (KeyError, TypeError, IndexError):
            value = None
        if value is None:
            return Missing(path_text(path)) if default is UNDEFINED else default
        return value

    def item(self, value: object, key: object) -> object:
        """One step of a path that is more than a dict's own key (``size``, ``first``, an index); None: no value."""
        try:
            return self.get_item(value, key)
        except (KeyError, TypeError, IndexError):
            return None

    def get_buffer(self, buf: TextIO | None = None) -> Any:
        return Buffer()


def path_text(path: Iterable[object]) -> str:
    """``profile.firstName``, ``last["Product Viewed"][0].properties.name``."""
    text = ""
    for segment in path:
        if isinstance(segment, str) and segment.isidentifier():
            text += f".{segment}" if text else segment
        elif isinstance(segment, str):
            text += f'["{segment}"]'
        else:
            text += f"[{segment}]"
    return text
