"""What comes back by mail: bounces and complaints, handed in by whoever receives our return path."""

from typing import Any, Final

import msgspec
from litestar import Request, Router, post
from litestar.exceptions import HTTPException

from heliograph.ports import Engine

MAX_MAIL: Final = 10 * 1024 * 1024
"""Bytes of one report, as receivers commonly take; its parts that matter come first and are small."""


class Feedback(msgspec.Struct, frozen=True):
    """``kind``: bounced, delayed, delivered, relayed, complained, not_spam or unknown.  ``message_id``: the message of
    ours that it is about.  ``proven``: our signature names it; without that no address is stopped.  ``suppressed``: its
    address is stopped from now on."""

    kind: str
    message_id: str
    proven: bool
    suppressed: bool
    reason: str


def router(engine: Engine) -> Router:
    @post(
        "/mail",
        summary="A bounce (RFC 3464) or complaint (RFC 5965) as it came: the body is the mail, message/rfc822",
        status_code=200,
        request_max_body_size=MAX_MAIL,
    )
    async def mail(request: Request[Any, Any, Any], recipient: str = "") -> Feedback:
        raw = await request.body()
        if not raw.strip():
            raise HTTPException("the body is empty; send the mail as it came, headers first", status_code=400)
        heard = await engine.feedback_mail(raw, recipient)
        return Feedback(heard.kind, heard.message_id, heard.proven, heard.suppressed, heard.reason)

    return Router("/feedback", route_handlers=[mail], tags=["feedback"])
