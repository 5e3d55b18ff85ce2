"""E-mail by SMTP for Prefect's automations, which Prefect's server sends."""

from urllib.parse import quote, unquote, urlencode, urlsplit

from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from pydantic import Field, SecretStr

from fashion_clip.errors import UsageError

PORTS = {"smtp": 587, "smtps": 465}


class SmtpEmail(AbstractAppriseNotificationBlock):
    """Sends mail through a server: with STARTTLS where a password is given, with TLS at once for smtps."""

    _block_type_name = "Fashion Clip E-mail"
    _block_type_slug = "fashion-clip-email"

    url: SecretStr = Field(description="In Apprise's form: mailtos://...")


def mail_url(smtp_url: str, recipients: str) -> str:
    """`smtp://USER:PASSWORD@HOST:PORT` and addresses with commas between them, as Apprise wants them.

    The sender is the user where that is an address, else the first recipient.

    Raises:
        UsageError: no such URL; it is not repeated, since it may hold a password.
    """
    try:
        parts = urlsplit(smtp_url)
        usual = PORTS[parts.scheme]
        port = parts.port or usual
    except (ValueError, KeyError):
        parts, port = urlsplit(""), 0
    if not parts.hostname:
        raise UsageError(
            "FASHION_CLIP_SMTP_URL cannot be used; expected smtp://USER:PASSWORD@HOST:PORT, or smtps://"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    addresses = [address.strip() for address in recipients.split(",")]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    mode = "ssl" if parts.scheme == "smtps" else "starttls" if password else "insecure"
    query = {
        "smtp": host,
        "from": user if "@" in user else addresses[0],
        "to": ",".join(addresses),
        "format": "text",
        **({} if mode == "insecure" else {"mode": mode}),
    }
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    scheme = "mailto" if mode == "insecure" else "mailtos"
    return f"{scheme}://{login}{host}:{port}/?{urlencode(query)}"
