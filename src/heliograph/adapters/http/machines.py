"""Who opened and clicked?  Mail scanners and privacy proxies fetch what no person has seen.

A machine's opens and clicks are recorded and flagged, never acted on.  In doubt it was a person: a flag that is
missing costs a wrong figure, a flag too many costs a person their next mail.
"""

import re

SCANNERS = (
    "barracuda", "bitdefender", "cloudmark", "crawler", "curl/", "fireeye", "fortinet", "go-http-client",
    "google-safety", "headlesschrome", "java/", "libwww", "mailscanner", "mimecast", "okhttp", "phantomjs",
    "proofpoint", "python-", "safelinks", "scrapy", "slackbot", "sophos", "spider", "symantec", "trendmicro",
    "twitterbot", "urlscan", "virustotal", "wget/", "whatsapp", "zscaler",
)  # fmt: skip
"""Parts of user agents (lower case) of link scanners, previewers and HTTP libraries."""

PRIVACY_PROXY = "mozilla/5.0"
"""Apple's Mail Privacy Protection opens every message through a proxy that calls itself just this."""

HUMAN_AFTER_MS = 1_000
"""A fetch sooner than this after the receiver's 250 is a scanner at the door (facts: within seconds, before the open).
People need longer to see that a mail has come."""

_SCANNER = re.compile("|".join(map(re.escape, (*SCANNERS, "bot/", "bot;", "bot "))))


def is_machine(method: str, user_agent: str, since_sent_ms: int | None) -> bool:
    """``since_sent_ms``: from the receiver's 250 to this fetch; None when no 250 is known."""
    agent = user_agent.strip().lower()
    if method != "GET" or agent in ("", PRIVACY_PROXY) or _SCANNER.search(agent):
        return True
    return since_sent_ms is not None and since_sent_ms < HUMAN_AFTER_MS
