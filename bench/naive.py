"""How one would write it in an afternoon: FastAPI, Jinja2, EmailMessage, dkimpy, smtplib.  No queue, nothing durable.

``uvicorn bench.naive:app`` with ``NAIVE_SMTP_PORT`` and, for signatures, ``NAIVE_DKIM_PEM``.
"""

import os
import smtplib
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

import dkim  # type: ignore[import-untyped]
import jinja2
from fastapi import FastAPI

from bench import letters

PORT = int(os.environ.get("NAIVE_SMTP_PORT", "25"))
KEY = os.environ.get("NAIVE_DKIM_PEM", "").encode()

app = FastAPI()
page = jinja2.Environment(autoescape=True).from_string(letters.body())
plain = jinja2.Environment().from_string("Hello {{ profile.firstName }},\n" + "a line of the letter\n" * 120)


@app.post("/event")
def event(call: dict[str, Any]) -> dict[str, bool]:
    profile = call["profile"]
    mail = EmailMessage()
    mail["From"], mail["To"] = letters.SENDER, profile["email"]
    mail["Subject"] = f"{profile['firstName']}, a letter"
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain="shop.example")
    mail["List-Unsubscribe"] = f"<{letters.BASE_URL}/u/{profile['id']}>"
    mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(plain.render(profile=profile))
    mail.add_alternative(page.render(profile=profile), subtype="html")
    data = mail.as_bytes().replace(b"\n", b"\r\n")
    if KEY:
        data = dkim.sign(data, b"rsa", b"shop.example", KEY, include_headers=[b"From", b"To", b"Subject"]) + data
    with smtplib.SMTP("127.0.0.1", PORT) as relay:
        relay.sendmail("hello@shop.example", [profile["email"]], data)
    return {"success": True}
