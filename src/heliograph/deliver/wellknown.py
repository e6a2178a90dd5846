"""Receivers that everybody mails to, as data: how they are told, what they bear, what their replies ask for.

Limits hold for direct mail only (a relay has its own) and where ``[receiver.NAME]`` does not say otherwise.  Where a
receiver publishes no figure, the one used in the field is taken: KumoMTA's community shaping file (Apache-2.0,
``assets/policy-extras/shaping.toml``), or a cautious one of ours, and ``source`` says which.

Rules are asked in order, the first that matches holds; each carries an ``example`` of the reply it is for, against
which it is tested.  All of them speak of us, our address or our volume, never of one recipient.
"""

from typing import Final

from heliograph.deliver.limits import Receiver, Rule

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE

KUMO: Final = "KumoMTA community shaping"
OURS: Final = "no published figure: cautious"


class Known(Receiver, frozen=True, kw_only=True):
    """``source``: of the limits."""

    source: str = OURS


_GMAIL_ERRORS: Final = "https://support.google.com/a/answer/3726730"
_OUTLOOK_ERRORS: Final = "https://sendersupport.olc.protection.outlook.com/pm/troubleshooting"
_M365_ERRORS: Final = (
    "https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online"
)
_YAHOO_ERRORS: Final = "https://senders.yahooinc.com/smtp-error-codes/"
_GMX_ERRORS: Final = "https://postmaster.gmx.net/en/error-messages"

RECEIVERS: Final[dict[str, Known]] = {
    "gmail": Known(
        # Workspace answers at the same addresses, so both share one account of us.
        domains=("gmail.com", "googlemail.com"),
        mx=(".google.com", ".googlemail.com"),
        connection_limit=5,
        max_deliveries_per_connection=50,
        rules=(
            Rule(
                r"4\.7\.28",
                "slow",
                30 * MINUTE,
                rate="1/s",
                source=_GMAIL_ERRORS,
                example="421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP "
                "address. To protect our users from spam, mail sent from your IP address has been temporarily rate "
                "limited.",
            ),
            Rule(
                r"4\.7\.0 .*(suspicious|very low reputation|unsolicited)",
                "slow",
                HOUR,
                rate="10/m",
                source=_GMAIL_ERRORS,
                example="421 4.7.0 [192.0.2.1] Our system has detected that this message is suspicious due to the very "
                "low reputation of the sending domain.",
            ),
            Rule(
                r"4\.7\.0 .*try again later",
                "slow",
                10 * MINUTE,
                source=_GMAIL_ERRORS,
                example="421 4.7.0 Try again later, closing connection.",
            ),
            Rule(
                r"5\.7\.1 .*unsolicited mail",
                "suspend",
                HOUR,
                source=_GMAIL_ERRORS,
                example="550 5.7.1 [192.0.2.1] Our system has detected an unusual rate of unsolicited mail originating "
                "from your IP address. To protect our users from spam, mail sent from your IP address has been "
                "blocked.",
            ),
        ),
        source=KUMO,
    ),
    "outlook": Known(
        domains=(
            "outlook.com",
            "hotmail.com",
            "hotmail.co.uk",
            "hotmail.fr",
            "hotmail.de",
            "hotmail.it",
            "hotmail.es",
            "live.com",
            "live.co.uk",
            "live.nl",
            "live.fr",
            "msn.com",
            "passport.com",
        ),
        mx=(".olc.protection.outlook.com",),
        connection_limit=5,
        max_deliveries_per_connection=50,
        rules=(
            Rule(
                r"\bS3(150|140)\b",
                "suspend",
                2 * HOUR,
                source=_OUTLOOK_ERRORS,
                example="550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet "
                "service provider since part of their network is on our block list (S3150).",
            ),
            Rule(
                r"\bRP-00[123]\b",
                "slow",
                HOUR,
                rate="10/m",
                source=_OUTLOOK_ERRORS,
                example="421 RP-001 Unfortunately, some messages from 192.0.2.1 weren't sent. Please try again. We "
                "have limits for how many messages can be sent per hour and per day.",
            ),
            Rule(
                r"rate limited due to IP reputation",
                "slow",
                90 * MINUTE,
                rate="1/m",
                source=KUMO,
                example="451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP "
                "reputation. (S3114)",
            ),
            Rule(
                r"4\.7\.500",
                "slow",
                30 * MINUTE,
                source=_M365_ERRORS,
                example="451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)",
            ),
        ),
        source=KUMO,
    ),
    "microsoft365": Known(
        mx=(".mail.protection.outlook.com", ".mx.microsoft"),
        connection_limit=5,
        max_deliveries_per_connection=50,
        rules=(
            Rule(
                r"4\.7\.(500|501|502|503)|AS\(?(77)",
                "slow",
                30 * MINUTE,
                source=_M365_ERRORS,
                example="451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77713)",
            ),
            Rule(
                r"rate limited due to IP reputation|4\.7\.65[01]",
                "slow",
                90 * MINUTE,
                rate="1/m",
                source=KUMO,
                example="451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP "
                "reputation. (S775)",
            ),
            Rule(
                r"5\.7\.51[012]|5\.7\.60[67]|5\.7\.708",
                "suspend",
                HOUR,
                source=_M365_ERRORS,
                example="550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list "
                "please visit https://sender.office.com/",
            ),
        ),
        source=KUMO,
    ),
    "yahoo": Known(
        domains=(
            "yahoo.com",
            "ymail.com",
            "rocketmail.com",
            "yahoo.co.uk",
            "yahoo.fr",
            "yahoo.de",
            "yahoo.it",
            "yahoo.es",
            "yahoo.ca",
            "yahoo.com.br",
            "yahoo.co.in",
            "myyahoo.com",
            "aol.com",
            "aim.com",
            "aol.co.uk",
            "verizon.net",
            "netscape.net",
        ),
        mx=(".yahoodns.net",),
        connection_limit=10,
        max_deliveries_per_connection=20,
        rules=(
            Rule(
                r"\[TSS?0[3-9]\]",
                "suspend",
                2 * HOUR,
                source=f"{_YAHOO_ERRORS}; {KUMO}",
                example="421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or "
                "user complaints - 4.16.55.1",
            ),
            Rule(
                r"temporarily deferred|\[(GL|TS)0[12]\]",
                "slow",
                HOUR,
                source=_YAHOO_ERRORS,
                example="421 4.7.0 [TS01] Messages from 192.0.2.1 temporarily deferred due to excessive user "
                "complaints - 4.16.55.1",
            ),
            Rule(
                r"5\.7\.9.*policy|\[BL2[123]\]",
                "suspend",
                HOUR,
                source=_YAHOO_ERRORS,
                example="553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in "
                "Spamhaus's list",
            ),
        ),
        source=f"{_YAHOO_ERRORS}; {KUMO}",
    ),
    "icloud": Known(
        domains=("icloud.com", "me.com", "mac.com"),
        mx=(".icloud.com",),
        connection_limit=10,
        max_deliveries_per_connection=5,
        rules=(
            Rule(
                r"\[(CS0[0-9]|HM0[0-9]|HME1)\]",
                "suspend",
                HOUR,
                source="https://support.apple.com/en-us/102322",
                example="554 5.7.1 [CS01] Message rejected due to local policy. Please visit "
                "https://support.apple.com/en-us/HT204137",
            ),
            Rule(
                r"4\.7\.0|too many",
                "slow",
                30 * MINUTE,
                source="https://support.apple.com/en-us/102322",
                example="421 4.7.0 Too many connections from your IP address",
            ),
        ),
        source=f"https://support.apple.com/en-us/102322; {KUMO}",
    ),
    "gmx": Known(
        domains=(
            "gmx.de",
            "gmx.net",
            "gmx.at",
            "gmx.ch",
            "gmx.com",
            "gmx.co.uk",
            "gmx.fr",
            "web.de",
            "mail.com",
            "email.de",
            "caramail.com",
        ),
        mx=(".gmx.net", ".web.de", ".mail.com"),
        connection_limit=5,
        max_deliveries_per_connection=100,
        rules=(
            Rule(
                r"rate limit",
                "slow",
                2 * HOUR,
                rate="10/m",
                source=_GMX_ERRORS,
                example="421 Rate limit reached. Please try again later.",
            ),
            Rule(
                r"^4.*(policy|bad dns|nemesis)",
                "slow",
                HOUR,
                rate="10/m",
                source=_GMX_ERRORS,
                example="421 gmx.net (mxgmx115) Nemesis ESMTP Service not available Service unavailable Reject due to "
                "policy restrictions.",
            ),
            Rule(
                r"^5.*(IP address is blacklisted|black ?list|reject due to policy)",
                "suspend",
                2 * HOUR,
                source=_GMX_ERRORS,
                example="554 gmx.net (mxgmx115) Nemesis ESMTP Service not available No SMTP service IP address is "
                "black listed.",
            ),
        ),
        source=f"{KUMO} (mail.com); connections: {OURS}",
    ),
    "t-online": Known(
        domains=("t-online.de", "magenta.de"),
        mx=(".t-online.de",),
        connection_limit=3,
        max_deliveries_per_connection=50,
        rules=(
            Rule(
                r"IP=[0-9a-f.:]+ - (a problem occurred|A dialup)|ask your postmaster",
                "suspend",
                2 * HOUR,
                source="https://postmaster.t-online.de/",
                example="554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help or to contact "
                "tosa@rx.t-online.de to clarify.)",
            ),
            Rule(
                r"^4.*(too many|temporarily)",
                "slow",
                30 * MINUTE,
                source="https://postmaster.t-online.de/",
                example="450 4.7.1 Too many mails from your IP address, slow down",
            ),
        ),
    ),
    "proton": Known(
        domains=("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
        mx=(".protonmail.ch",),
        connection_limit=10,
        max_deliveries_per_connection=50,
    ),
    "fastmail": Known(
        domains=("fastmail.com", "fastmail.fm"),
        mx=(".messagingengine.com",),
        connection_limit=10,
        max_deliveries_per_connection=100,
    ),
    "comcast": Known(
        domains=("comcast.net", "xfinity.com"),
        mx=(".comcast.net",),
        connection_limit=25,
        max_deliveries_per_connection=1000,
        rules=(
            Rule(
                r"\bRL0000",
                "slow",
                2 * HOUR,
                rate="10000/h",
                source=f"https://spa.xfinity.com/postmaster; {KUMO}",
                example="421 4.1.0 192.0.2.1 Throttled - try again later. Please see "
                "https://postmaster.comcast.net/smtp-error-codes.php#RL000001",
            ),
            Rule(
                r"\bBL00[0-9]{4}",
                "suspend",
                2 * HOUR,
                source="https://spa.xfinity.com/postmaster",
                example="554 resimta-po-01v.sys.comcast.net comcast 192.0.2.1 Comcast block for spam. Please see "
                "https://postmaster.comcast.net/smtp-error-codes.php#BL000001",
            ),
        ),
        source=f"https://spa.xfinity.com/postmaster; {KUMO}",
    ),
    "zoho": Known(
        domains=("zoho.com", "zohomail.com", "zohomail.eu", "zohomail.in"),
        mx=(".zoho.com", ".zoho.eu", ".zoho.in"),
        connection_limit=10,
        max_deliveries_per_connection=50,
    ),
    "orange": Known(
        domains=("orange.fr", "wanadoo.fr"),
        mx=(".orange.fr", ".wanadoo.fr"),
        connection_limit=3,
        max_deliveries_per_connection=100,
        rules=(
            Rule(
                r"OFR_?[0-9]+.*|too many connections",
                "slow",
                30 * MINUTE,
                source="https://postmaster.orange.fr/; https://www.postmastery.com/orange-postmaster-smtp-error-codes-ofr/",
                example="421 opmta1mti02nd1 smtp.orange.fr ESMTP server not available - Service refused. Please try "
                "later. OFR004_104",
            ),
        ),
        source=KUMO,
    ),
    "mimecast": Known(
        mx=(".mimecast.com", ".mimecast.co.za", ".mimecast-offshore.com"),
        connection_limit=10,
        max_deliveries_per_connection=100,
        source=KUMO,
    ),
    "proofpoint": Known(
        mx=(".pphosted.com", ".ppe-hosted.com"),
        connection_limit=5,
        max_deliveries_per_connection=50,
        rules=(
            Rule(
                r"too many errors|blocked .*proofpoint|ipcheck\.proofpoint",
                "slow",
                30 * MINUTE,
                source="https://ipcheck.proofpoint.com/",
                example="421 4.7.1 mx0a.example Service unavailable; client 192.0.2.1 blocked, see "
                "https://ipcheck.proofpoint.com/?ip=192.0.2.1",
            ),
        ),
    ),
}

ANYBODY: Final[tuple[Rule, ...]] = (
    Rule(
        r"gr[ae]y-?list", "pass", 0, source="RFC 6647",
        example="451 4.7.1 Greylisting in action, please come back later",
    ),
    Rule(
        r"too many (concurrent |simultaneous )?(smtp )?(connections|sessions)", "slow", 5 * MINUTE,
        source="RFC 5321, 4.2.3 (421); Postfix smtpd_client_connection_count_limit",
        example="421 4.7.0 mx.example Error: too many connections from 192.0.2.1",
    ),
    Rule(
        r"temporarily (deferred|rate limited)|rate limit(ed)? (reached|exceeded)|sending too (fast|many)", "slow",
        30 * MINUTE, source=KUMO, example="451 4.7.1 You are sending too many messages, slow down",
    ),
    Rule(
        r"all messages from .* will be permanently deferred", "suspend", 90 * MINUTE, source=KUMO,
        example="421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
    ),
)  # fmt: skip
"""For every receiver, behind its own rules.  ``pass``: a reply that says nothing of our pace (greylisting puts off each
sender's first mail), so it is not counted either."""
