"""What every Python in a TaskManager imports first: it lies beside ``heliograph`` as ``sitecustomize.py``.

In thread mode pemja gives each Java thread a thread state of its own.  A module that is made with pybind11 (google-re2)
and imported for the first time in such a thread asks for the interpreter lock under another thread state and waits for
itself for ever.  Imported while the interpreter comes up, in its own thread, it is in order for all.
"""

import re2  # noqa: F401
