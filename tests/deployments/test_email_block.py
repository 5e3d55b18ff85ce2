"""An SMTP server's address and recipients, as Apprise takes them."""

from typing import Any

import pytest
from apprise import Apprise

from deployments.email_block import mail_url
from fashion_clip.errors import UsageError


def mailer(smtp_url: str, recipients: str) -> Any:
    """What Apprise makes of it."""
    [found] = Apprise(servers=mail_url(smtp_url, recipients))
    return found


@pytest.mark.parametrize(
    ("url", "host", "port", "mode"),
    [
        ("smtp://ann%40shop.example:a%2Fb%3Ac@mail.example:2525", "mail.example", 2525, "starttls"),
        ("smtp://ann%40shop.example:a%2Fb%3Ac@mail.example", "mail.example", 587, "starttls"),
        ("smtp://ann%40shop.example:a%2Fb%3Ac@[2001:db8::25]:2525", "[2001:db8::25]", 2525, "starttls"),
        ("smtps://ann%40shop.example:a%2Fb%3Ac@mail.example", "mail.example", 465, "ssl"),
    ],
)
def test_a_password_travels_encrypted(url: str, host: str, port: int, mode: str) -> None:
    found = mailer(url, "bob@shop.example, eve@shop.example")
    assert (found.smtp_host, found.port, found.secure, found.secure_mode) == (host, port, True, mode)
    assert (found.user, found.password) == ("ann@shop.example", "a/b:c")
    assert found.from_addr[1] == "ann@shop.example"
    assert [address for _, address in found.targets] == ["bob@shop.example", "eve@shop.example"]


def test_a_server_of_the_house_needs_none() -> None:
    found = mailer("smtp://127.0.0.1:25", "bob@shop.example")
    assert (found.port, found.secure, found.user) == (25, False, None)
    assert found.from_addr[1] == "bob@shop.example"


@pytest.mark.parametrize(
    "url",
    ["mail.example:hush", "http://u:hush@host", "http://u:hush@host:25", "smtp://", "smtp://u:hush@host:x"],
)
def test_what_is_no_server_is_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="FASHION_CLIP_SMTP_URL") as caught:
        mail_url(url, "bob@shop.example")
    assert "hush" not in str(caught.value)
