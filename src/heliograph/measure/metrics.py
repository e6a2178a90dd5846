"""The one list of metric names: what the server tells Prometheus, as data.

``runtime/meter.py`` turns it into collectors; docs and dashboards are written from it.  Units are in the names, as
Prometheus asks; every histogram's buckets follow from the target it watches (design, section 10).
"""

import msgspec

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
TALLY = "tally"
"""A counter that is kept elsewhere and read when somebody asks."""

LEVELS = "levels"
"""Gauges that are kept elsewhere and read when somebody asks."""

_FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SEND = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)


class Metric(msgspec.Struct, frozen=True):
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: dict[str, Metric] = {
    "heliograph_events_total": Metric(COUNTER, "Calls collected, by what became of them.", ("status",)),
    "heliograph_door_total": Metric(
        TALLY,
        "Calls at the door, also those turned away: malformed (refused), over the rate (limited), busy.",
        ("status",),
    ),
    "heliograph_records_total": Metric(COUNTER, "Records appended to the log, by kind.", ("kind",)),
    "heliograph_chunk_records": Metric(
        HISTOGRAM, "Records decided in one commit.", buckets=(1, 4, 16, 64, 256, 1024, 2048, 4096)
    ),
    "heliograph_decide_seconds": Metric(HISTOGRAM, "Deciding one commit.", buckets=_FAST),
    "heliograph_commit_seconds": Metric(HISTOGRAM, "Writing and syncing one commit.", buckets=_FAST),
    "heliograph_queue_records": Metric(GAUGE, "Records waiting to be decided."),
    "heliograph_queue_bytes": Metric(GAUGE, "Bytes waiting to be decided."),
    "heliograph_spooled_total": Metric(COUNTER, "Entries kept on a collector's disk while the log was away."),
    "heliograph_spool_bytes": Metric(GAUGE, "On a collector's disk, waiting for the log."),
    "heliograph_decided_lag_seconds": Metric(
        GAUGE, "How long ago a collector took what is not decided yet; 0: nothing is behind."
    ),
    "heliograph_words_missing_total": Metric(
        COUNTER, "Events collected without the ledger's words for their address, because the store was away."
    ),
    "heliograph_commits_again_total": Metric(
        COUNTER, "Commits decided again because another process was first, by error.", ("error",)
    ),
    "heliograph_relayed_total": Metric(COUNTER, "Entries published to the shared log behind their commit."),
    "heliograph_relay_refused_total": Metric(COUNTER, "Entries that the shared log refused, kept as dead letters."),
    "heliograph_effects_lost": Metric(
        GAUGE, "Decisions given up with `heliograph gap --skip`: gone before they were carried out, at most so many."
    ),
    "heliograph_plan_refused": Metric(GAUGE, "The newest plan, where this process cannot read it; 0: it can."),
    "heliograph_render_reads_total": Metric(
        COUNTER,
        "Profiles read for rendering, by where they were: here, cache, store; last (known, perhaps not the newest) "
        "when the store is late; late when nothing was known.",
        ("where",),
    ),
    "heliograph_busy_total": Metric(COUNTER, "Calls answered 503, by reason.", ("reason",)),
    "heliograph_step_errors_total": Metric(COUNTER, "Records that could not be decided: report each as a bug."),
    "heliograph_facts_total": Metric(COUNTER, "Facts decided, by kind.", ("kind",)),
    "heliograph_timer_lateness_seconds": Metric(HISTOGRAM, "From a timer's instant to its decision.", buckets=_SEND),
    "heliograph_messages_total": Metric(COUNTER, "Messages that reached a status.", ("status",)),
    "heliograph_message_seconds": Metric(
        HISTOGRAM, "From the record that decided a message to the receiver's 250.", buckets=_SEND
    ),
    "heliograph_messages_waiting": Metric(GAUGE, "Queued messages held in memory."),
    "heliograph_messages_claimed": Metric(GAUGE, "Messages in the hands of mailers."),
    "heliograph_webhooks_total": Metric(COUNTER, "Webhooks that came to an end: ok or failed.", ("outcome",)),
    "heliograph_webhook_tries_total": Metric(COUNTER, "Requests made for webhooks: ok, again or failed.", ("verdict",)),
    "heliograph_webhook_seconds": Metric(HISTOGRAM, "One request, from its beginning to its end.", buckets=_SEND),
    "heliograph_webhooks_waiting": Metric(GAUGE, "Webhooks without an answer, held in memory."),
    "heliograph_webhooks_under_way": Metric(GAUGE, "Requests being made."),
    "heliograph_reports_total": Metric(
        COUNTER, "Mails that came to bounce addresses, by what they were taken for.", ("kind",)
    ),
    "heliograph_breaker_open_total": Metric(
        COUNTER, "How often the circuit breaker held a journey's or broadcast's mail, by what went wrong.", ("kind",)
    ),
    "heliograph_mail_held": Metric(GAUGE, "Journeys and broadcasts whose mail is held."),
    "heliograph_receiver_queued": Metric(
        LEVELS, "Queued messages in memory, by receiver: those with most of them.", ("receiver",)
    ),
    "heliograph_receiver_in_flight": Metric(
        LEVELS, "Messages with mailers, by receiver: those with most of them.", ("receiver",)
    ),
    "heliograph_receiver_held_back_seconds": Metric(
        LEVELS, "Until mail goes again to a receiver that is suspended.", ("receiver",)
    ),
    "heliograph_relay_works": Metric(LEVELS, "0 while a relay is down.", ("relay",)),
    "heliograph_warmup_tier": Metric(LEVELS, "In which tier a sender's warm-up is, from 1.", ("sender",)),
    "heliograph_mailers": Metric(GAUGE, "Mailer processes connected."),
    "heliograph_sweep_keys_total": Metric(COUNTER, "Keys touched after a publish."),
    "heliograph_broadcast_people_total": Metric(COUNTER, "People who were offered a broadcast."),
    "heliograph_sweep_keys_left": Metric(GAUGE, "Keys still to touch after a publish, an estimate; 0: done."),
    "heliograph_plan_version": Metric(GAUGE, "The published plan."),
    "heliograph_store": Metric(GAUGE, "Estimated sizes of the store.", ("what",)),
    "heliograph_facts_lag_seconds": Metric(
        GAUGE, "How far the tables of facts are behind the log; 0: not at all, or nobody loads them here."
    ),
    "heliograph_disk_full": Metric(GAUGE, "1 while the disk refuses writes."),
}
"""By name; a counter's ``_total`` is part of it."""
