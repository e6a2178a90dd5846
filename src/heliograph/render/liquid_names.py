"""How names and words of a template are told to the source of its program."""

LOOP_KEYS = frozenset(("length", "index", "index0", "rindex", "rindex0", "first", "last", "parentloop", "name"))
ROW_KEYS = frozenset(
    ("length", "index", "index0", "rindex", "rindex0", "first", "last", "col", "col0", "col_first", "col_last", "row")
)
"""What can be read of the helper of a ``for`` and of a ``tablerow``: the only attributes that an author may name."""


class Uncovered(Exception):
    """There is something here that only the interpreter knows how to render."""


def literal(text: str) -> str:
    """The literal of Python, in ASCII, that means this text: the one way in which an author's words enter source."""
    return ascii(str(text))


class Names:
    """What names stand for at one place of a template: the innermost scope first, as the context searches them."""

    def __init__(self, changing: frozenset[str]) -> None:
        """``changing``: what the template itself assigns, captures or counts."""
        self._changing = changing
        self._scopes: list[dict[str, str]] = [{"partial": "PARTIAL"}]  # the library's, above all that is assigned
        self.helpers: dict[str, frozenset[str]] = {}
        """The variables that hold a loop's helper, and what can be read of it."""
        self.hoisted: dict[str, str] = {}
        """Names that come from outside for as long as the template runs, and the variable that holds each."""

    @property
    def depth(self) -> int:
        return len(self._scopes)

    def push(self, scope: dict[str, str], helper: str, keys: frozenset[str]) -> None:
        self._scopes.append(scope)
        self.helpers[helper] = keys

    def pop(self) -> None:
        self._scopes.pop()

    def cut(self, depth: int) -> None:
        del self._scopes[depth:]

    def source(self, name: str) -> str:
        """None (of Python) is no value."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        if name not in self._changing:
            return self.hoisted.setdefault(name, f"g{len(self.hoisted)}")
        key = literal(name)
        return f"(own[{key}] if {key} in own else outside[{key}] if {key} in outside else counters.get({key}))"
