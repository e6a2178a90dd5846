"""Journeys: how a person passes through what was planned (contract, section 4).

How to read this package.  What people write becomes a ``program``: immutable, flat, shared by all runs (``compile``;
``entering`` and ``rrule`` read what starts a run; ``steps`` lays steps out, ``verbs``, ``waits`` and ``values`` read
them, ``shape`` judges the way through).  Then what happens to people: ``entries`` and ``schedules`` say who starts a
run; ``runs`` holds goals, exits, resumes and ends; ``waking`` what time moves; ``walk`` takes a run from step to step:
``sending`` decides a message and ``outcomes`` what follows from its fate, ``hops`` writes traits and emits events,
``requests`` asks other servers, ``clocks`` and ``recurrence`` know when.  ``follow`` and ``difference`` are about
edits; ``telling`` says it all in plain English.
"""
