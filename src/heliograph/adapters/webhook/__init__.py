"""Requests to other people's servers, by aiohttp (decision 0036)."""

from heliograph.adapters.webhook.caller import AiohttpCaller

__all__ = ["AiohttpCaller"]
