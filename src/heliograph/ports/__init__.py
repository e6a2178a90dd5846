"""THE BORDER: what the runtime needs from the world, in small protocols with written semantics.

Every adapter passes the one suite in ``tests/contracts``; ``adapters/memory`` is the twin that ships as product.
Words: *commit* = one atomic, durable change of everything one chunk decided; *position* = the number of a record in
the log, increasing by one, never reused; *key* = a person's key (``u:``, ``a:``, ``e:``).
"""

from heliograph.events.decode import Arrival
from heliograph.ports.engine import (
    Busy,
    Clock,
    Engine,
    Entered,
    JourneyTouched,
    LiveFeed,
    Outstanding,
    PlanRefused,
    PlanTouches,
    PublishReport,
    Result,
    SchemaCheck,
    SegmentTouched,
    StepChange,
    Unmapped,
)
from heliograph.ports.mail import (
    Courier,
    Parcel,
    Transport,
    Verdict,
)
from heliograph.ports.store import (
    UNFINISHED,
    BroadcastRow,
    Commit,
    DeadLetter,
    JournalRow,
    MessageRow,
    PlanRow,
    RequestRow,
    Store,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StoreTooNew,
)
from heliograph.ports.web import (
    HttpCaller,
    HttpFailed,
    HttpReply,
    HttpRequest,
)

__all__ = [
    "UNFINISHED",
    "Arrival",
    "BroadcastRow",
    "Busy",
    "Clock",
    "Commit",
    "Courier",
    "DeadLetter",
    "Engine",
    "Entered",
    "HttpCaller",
    "HttpFailed",
    "HttpReply",
    "HttpRequest",
    "JournalRow",
    "JourneyTouched",
    "LiveFeed",
    "MessageRow",
    "Outstanding",
    "Parcel",
    "PlanRefused",
    "PlanRow",
    "PlanTouches",
    "PublishReport",
    "RequestRow",
    "Result",
    "SchemaCheck",
    "SegmentTouched",
    "StepChange",
    "Store",
    "StoreFailed",
    "StoreFull",
    "StoreLocked",
    "StoreTooNew",
    "Transport",
    "Unmapped",
    "Verdict",
]
