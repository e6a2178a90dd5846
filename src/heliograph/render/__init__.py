"""WHAT IT SAYS: Liquid, MJML, links, header fields, MIME bytes, DKIM.  Pure: time, ids and keys arrive as arguments.

At publish :func:`compile_template` turns a template's files into what the plan carries.  When a message is sent,
:func:`load` gives the parsed template and :func:`render_message` the bytes, or :class:`Skip` says why not.
"""

from heliograph.render.compile import compile_template, refuse_locales
from heliograph.render.dkim import DkimKeyError, Signer
from heliograph.render.enclosures import MAX_BYTES as MAX_FILES_BYTES
from heliograph.render.enclosures import enclosed_bytes
from heliograph.render.errors import BadAddress, Problem, Skip, TemplateError
from heliograph.render.headers import split_mailbox
from heliograph.render.links import Claims, LinkKeys, MessageLinks, sign, verify
from heliograph.render.message import Envelope, Rendered, Template, load, render_message
from heliograph.render.verp import ReturnPath, read_verp

__all__ = [
    "MAX_FILES_BYTES", "BadAddress", "Claims", "DkimKeyError", "Envelope", "LinkKeys", "MessageLinks", "Problem",
    "Rendered", "ReturnPath", "Signer", "Skip", "Template", "TemplateError", "compile_template", "enclosed_bytes",
    "load", "read_verp", "refuse_locales", "render_message", "sign", "split_mailbox", "verify",
]  # fmt: skip
