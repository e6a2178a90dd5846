"""Journeys: how a person passes through what was planned (contract, section 4).

How to read this package.  ``compile`` and ``steps`` turn what people write into a ``program``: immutable, flat, shared
by all runs.  ``entries`` says who starts a run; ``runs`` holds goals, exits, resumes and ends; ``walk`` takes a run
from step to step; ``sending`` decides a message and ``outcomes`` what follows from its fate.
"""
