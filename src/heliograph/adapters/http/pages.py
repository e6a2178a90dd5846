"""The few pages a recipient ever sees: plain HTML forms, readable on any phone, no script, nothing from elsewhere."""

from collections.abc import Sequence
from html import escape

import msgspec

from heliograph.adapters.http.reply import NO_STORE, Headers, Reply

_HEADERS: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
    *NO_STORE,
)

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#dde2e8;--paper:#fff;--ground:#f3f5f7;--act:#b45309}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#9aa6b5;--line:#333c48;--paper:#1b2129;--ground:#12161b;--act:#f0a04b}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--ground);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:30rem;background:var(--paper);border:1px solid var(--line);border-radius:14px;padding:2rem}
.brand{margin:0 0 1.5rem;color:var(--soft);font-size:.85rem;letter-spacing:.04em;text-transform:uppercase}
h1{margin:0 0 .5rem;font-size:1.45rem;line-height:1.25}
p{margin:.5rem 0;overflow-wrap:anywhere}.soft{color:var(--soft);font-size:.92rem}
.done{border-left:3px solid var(--act);padding:.1rem 0 .1rem .9rem;margin:0 0 1rem}
fieldset{border:0;margin:1.25rem 0 0;padding:0}legend{padding:0;font-weight:600}
label{display:flex;gap:.8rem;align-items:center;padding:.8rem 0;border-bottom:1px solid var(--line);cursor:pointer}
input[type=checkbox]{width:1.15rem;height:1.15rem;accent-color:var(--act);flex:none}
button{font:inherit;font-weight:600;border-radius:9px;padding:.65rem 1.1rem;cursor:pointer;border:1px solid var(--act);
background:var(--act);color:var(--paper);margin:1.25rem .5rem 0 0}
button.quiet{background:none;color:var(--ink);border-color:var(--line);font-weight:400}
a{color:inherit}
"""


class TopicChoice(msgspec.Struct, frozen=True):
    """A line of the preferences page."""

    topic: str
    given: bool


def page(brand: str, title: str, body: str, status: int = 200, headers: Headers = ()) -> Reply:
    """``body`` is HTML; ``brand`` and ``title`` are text."""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f'<body><main><p class="brand">{escape(brand)}</p><h1>{escape(title)}</h1>{body}</main></body></html>'
    )
    return Reply(status, html.encode("utf-8", "replace"), (*_HEADERS, *headers))


def words(topic: str) -> str:
    """``order-news`` as a person reads it."""
    return topic.replace("_", " ").replace("-", " ").strip().capitalize()


def confirm(brand: str, address: str, topic: str, preferences: str) -> Reply:
    """GET /u/: asks, changes nothing (scanners follow every link)."""
    return page(
        brand,
        f"Stop “{words(topic)}” mail?",
        f"<p>{escape(address)} will get no more mail of this kind from us.</p>"
        '<form method="post"><button>Unsubscribe</button></form>'
        f'<p class="soft"><a href="{escape(preferences)}">Choose what you get instead</a></p>',
    )


def unsubscribed(brand: str, address: str, topic: str, preferences: str) -> Reply:
    return page(
        brand,
        "You are unsubscribed",
        f"<p>{escape(address)} gets no more “{escape(words(topic))}” mail, starting now.</p>"
        f'<p class="soft">Changed your mind? <a href="{escape(preferences)}">Choose what you get</a></p>',
    )


def preferences(brand: str, address: str, choices: Sequence[TopicChoice], *, stopped: bool, saved: bool) -> Reply:
    """``stopped``: the address is suppressed whatever it chooses here.  ``saved``: this answers a POST."""
    lines = "".join(
        f'<label><input type="checkbox" name="on" value="{escape(choice.topic)}"{" checked" * choice.given}>'
        f'<span>{escape(words(choice.topic))}</span><input type="hidden" name="shown" value="{escape(choice.topic)}">'
        "</label>"
        for choice in choices
    )
    return page(
        brand,
        "Your mail",
        ('<p class="done" role="status">Saved. This holds from now on.</p>' if saved else "")
        + f"<p>What may we send to {escape(address)}?</p>"
        + ('<p class="soft">All mail to this address is stopped at the moment.</p>' if stopped else "")
        + f'<form method="post"><fieldset><legend class="soft">Ticked: yes, please</legend>{lines}</fieldset>'
        '<button>Save</button><button class="quiet" name="none" value="1">Nothing at all</button></form>'
        '<p class="soft">Receipts and other answers to what you do are not affected.</p>',
    )


def not_ours(brand: str) -> Reply:
    """A link that no key of ours has signed."""
    return page(
        brand,
        "This link does not work",
        "<p>It may have been cut in two by a mail program: copy the whole link from the message.</p>",
        404,
    )


def busy(brand: str, headers: Headers) -> Reply:
    return page(
        brand, "One moment", "<p>We could not save this just now; nothing is lost. Please try again.</p>", 503, headers
    )
