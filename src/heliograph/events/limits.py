"""Bounds at the door.  Each names the precedent that chose it; beyond one, an event is refused with a sentence."""

MAX_EVENT_BYTES = 32 * 1024
"""JSON of one call, after decompression.  Segment's limit; its SDKs drop what is larger before sending."""

MAX_BATCH_BYTES = 500 * 1024
"""JSON of one batch, after decompression.  Segment's limit; its SDKs cut batches at 475,000 bytes."""

MAX_BATCH_EVENTS = 2_500
"""Calls in one batch.  Segment's limit."""

MAX_MESSAGE_ID = 100
"""Characters of ``messageId``.  Segment's limit."""

MAX_ID_BYTES = 1_000
"""UTF-8 bytes of userId, anonymousId, previousId and groupId: Braze's 997 is the longest among the peers.  They are
parts of stored keys, whose length is a u16."""

MAX_NAME_BYTES = 1_000
"""UTF-8 bytes of an event name; peers stop at 100 to 512 characters, and nobody reads longer ones."""

MAX_DEPTH = 64
"""Objects and lists inside each other.  Real events stay below ten; recursive code downstream stays far from its own
limit."""
