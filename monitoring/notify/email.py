"""A mail in plain text, by the channel's own server or by that of the settings."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, Any

from django.conf import settings

from monitoring.notify.notice import Field, Notice, NotSent

if TYPE_CHECKING:
    from monitoring.alert_models import Channel

FIELDS = (
    Field("to", "To", "Addresses, separated by commas."),
    Field("sender", "From", "Empty: as in the settings of dbadmin.", required=False),
    Field("host", "Mail server", "Empty: as in the settings of dbadmin.", required=False),
    Field("port", "Port", required=False),
    Field(
        "security",
        "Security",
        required=False,
        choices=(("", "none"), ("starttls", "STARTTLS"), ("tls", "TLS from the start")),
    ),
    Field("user", "User", required=False),
    Field("password", "Password", secret=True, required=False),
)
PATIENCE = 10.0


def send(channel: Channel, notice: Notice) -> str:
    """One mail to all addresses."""
    chosen = channel.settings
    message = written(notice, chosen)
    try:
        with connected(chosen) as server:
            if chosen.get("user"):
                server.login(chosen["user"], chosen.get("password", ""))
            refused = server.send_message(message)
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"The mail server refused the sign-in: {error.smtp_code}.", is_final=True) from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(f"{address}: {code}" for address, (code, _) in error.recipients.items())
        raise NotSent(f"The mail server refused every address ({codes}).", is_final=True) from None
    except smtplib.SMTPException as error:
        raise NotSent(f"The mail server refused: {' '.join(str(error).split())[:200]}.") from None
    except OSError as error:
        raise NotSent(f"The mail server does not answer: {error}.") from None
    if refused:
        return f"taken, but not for {', '.join(refused)}"
    return "taken by the mail server"


def connected(chosen: dict[str, Any]) -> smtplib.SMTP:
    """A connection with the security that is asked for, certificates verified."""
    host = chosen.get("host") or settings.EMAIL_HOST
    port = int(chosen.get("port") or (0 if chosen.get("host") else settings.EMAIL_PORT))
    if chosen.get("security") == "tls":
        return smtplib.SMTP_SSL(host, port or 465, timeout=PATIENCE, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port or 25, timeout=PATIENCE)
    if chosen.get("security") == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server


def written(notice: Notice, chosen: dict[str, Any]) -> EmailMessage:
    """The mail; all of one server and kind of trouble stand in one thread."""
    message = EmailMessage()
    message["Subject"] = " ".join(f"[dbadmin] {notice.title}".split())[:200]
    message["From"] = chosen.get("sender") or settings.DEFAULT_FROM_EMAIL
    message["To"] = ", ".join(part.strip() for part in chosen["to"].split(",") if part.strip())
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="dbadmin")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        "\n".join([notice.title, "", *notice.lines, "", *([notice.url] if notice.url else [])])
    )
    return message
