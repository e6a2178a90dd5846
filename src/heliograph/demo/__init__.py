"""`heliograph demo`: the example shop, visitors, and an inbox that shows what they get."""

from heliograph.demo.run import run_demo

__all__ = ["run_demo"]
