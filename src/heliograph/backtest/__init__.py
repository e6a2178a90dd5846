"""Trying a journey before it mails: the same ``step`` over what was recorded, with a clock that is only the records'.

How to read this package.  ``past`` is what happened to one person, ``kin`` who that is; ``plans`` the draft within the
published plan; ``lane`` decides a past under a plan; ``tally`` counts, ``differ`` compares, ``report`` tells.  ``part``
takes person after person, ``job`` divides the work, ``__main__`` is a process of it, and ``service`` lets a server
start one.  ``verify`` holds recorded decisions against the same log decided again; ``shadow`` follows the log live.

Absences: no clock, no socket, no write to the data folder.
What a backtest can and cannot know: docs/explanation/what-a-backtest-knows.md.
"""
