"""The other end of webhooks: answers as a test gives them, judged and tried again as the server does."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from heliograph.deliver import webhooks as rules
from heliograph.events.record import Answer
from heliograph.ports import Clock, RequestRow
from heliograph.runtime.crank import Crank
from heliograph.runtime.webhooks import given_up


class Request(NamedTuple):
    """One try of a ``webhook`` step.  ``json``: its body, None without one."""

    url: str
    method: str
    json: Any


Server = Callable[[Request], Any]
"""Gives the JSON of a 200, or an int: the status of a reply without a body."""


class Web:
    """``servers``: beginning of a URL -> who answers there; the longest one that fits."""

    def __init__(self, crank: Crank, clock: Clock) -> None:
        self.servers: dict[str, Server] = {}
        self.asked: list[Request] = []
        self._crank, self._clock = crank, clock
        self._tries: dict[str, tuple[int, int]] = {}

    def serve(self) -> bool:
        """Answer what may be asked now; False when nothing was."""
        due = [row for row in self._crank.requests() if self._tries.get(row.request_id, (0, 0))[1] <= self._clock.now()]
        for row in due:
            self._try(row)
        return bool(due)

    def next_at(self) -> int | None:
        """When somebody is asked again."""
        waiting = {row.request_id for row in self._crank.requests()}
        return min((at for name, (_, at) in self._tries.items() if name in waiting), default=None)

    def _try(self, row: RequestRow) -> None:
        now, tries = self._clock.now(), self._tries.get(row.request_id, (0, 0))[0] + 1
        reply = self._ask(row)
        status = reply if isinstance(reply, int) else 200
        verdict = rules.judge(status, {}, now)
        ok = verdict.kind == "ok"
        data = json.dumps(reply).encode() if ok and status is not reply else b""
        if len(data) > rules.MAX_REPLY:
            reason = f"{status} with a body of more than {rules.MAX_REPLY // 1024} KB"
            self._crank.answer(row, Answer(row.request_id, False, reason=reason))
            return
        body = rules.read_json(data) if data else None
        answer = Answer(row.request_id, ok, status, body, verdict.reason)
        again = rules.next_try(row.request_id, tries, now, row.give_up_at) if verdict.kind == "again" else None
        if again is not None:
            self._tries[row.request_id] = tries, again
        else:
            self._crank.answer(row, given_up(answer) if verdict.kind == "again" else answer)

    def _ask(self, row: RequestRow) -> Any:
        request = Request(row.url, row.method, json.loads(row.body) if row.body else None)
        fitting = [url for url in self.servers if row.url.startswith(url)]
        if not fitting:
            raise LookupError(
                f"the step {row.step_id!r} of {row.journey!r} calls {row.url}; say what it answers before: "
                f'project.answers("{row.url}", {{...}})'
            )
        self.asked.append(request)
        return self.servers[max(fitting, key=len)](request)
