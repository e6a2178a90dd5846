"""Heliograph: real-time, event-triggered, personalised email campaigns, self-hosted."""

__version__ = "0.1.0"
