"""A forgotten password by mail, through a small SMTP server."""

import asyncio
import email
import logging
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from common.io.addresses import Address
from receiver.web.accounts.mail import Mailer, MailRefused
from receiver.web.config import MailConfig
from tests.support.certificate_authority import Authority
from tests.support.fake_link import until
from tests.support.fake_pictures import FakePictures
from tests.support.web_service import PASSWORD, Site, open_site

ANNA, NEW = "anna@studio.example", "another good one"


class Inbox:
    """A mail server on the loopback, with STARTTLS and a user; `refusal` answers each mail."""

    def __init__(self, authority: Authority) -> None:
        certificate, key = authority.issue("mail", "127.0.0.1")
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self.trust = ssl.create_default_context(cafile=authority.certificate)
        self.texts: list[str] = []
        self.refusal = ""
        self.port = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        content = envelope.content
        assert isinstance(content, bytes)
        self.texts.append(email.message_from_bytes(content).get_payload(decode=True).decode())  # type: ignore[union-attr]
        return "250 OK"

    def protocol(self) -> SMTP:
        return SMTP(
            self, tls_context=self._tls, require_starttls=True, authenticator=_authenticated, auth_required=True
        )

    def config(self, **changes: object) -> MailConfig:
        given = {
            "smtp": Address("127.0.0.1", self.port),
            "smtp_user": "bodywire",
            "smtp_password": "s3cret",
            "mail_from": "bodywire@studio.example",
            "mail_page": "https://studio.example/",
        }
        return MailConfig(**{**given, **changes})  # type: ignore[arg-type]


def _authenticated(server: object, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
    return AuthResult(success=getattr(data, "password", b"") == b"s3cret", handled=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    yield Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def inbox(authority: Authority) -> AsyncIterator[Inbox]:
    inbox = Inbox(authority)
    server = await asyncio.get_running_loop().create_server(inbox.protocol, "127.0.0.1", 0)
    inbox.port = server.sockets[0].getsockname()[1]
    yield inbox
    server.close()


@pytest.fixture
async def site(tmp_path: Path, inbox: Inbox) -> AsyncIterator[Site]:
    async with open_site(tmp_path, FakePictures(), mailer=Mailer(inbox.config(), inbox.trust)) as opened:
        yield opened


async def forgotten(client: httpx.AsyncClient, name: str) -> int:
    return (await client.post("/api/password/forgotten", json={"name": name})).status_code


async def test_link_comes_by_mail_and_sets_a_password(site: Site, inbox: Inbox) -> None:
    await site.visitor(ANNA)
    stranger = site.client()
    assert (await stranger.get("/api/status")).json()["mail"]
    assert await forgotten(stranger, ANNA.upper()) == 204
    await until(lambda: bool(inbox.texts))
    link = re.search(r"https://studio\.example/#reset/(\S+)", inbox.texts[0])
    assert link is not None and ANNA in inbox.texts[0] and PASSWORD not in inbox.texts[0]
    set_password = {"secret": link[1], "password": NEW}
    assert (await stranger.post("/api/password", json=set_password)).status_code == 204
    assert (await stranger.post("/api/session", json={"name": ANNA, "password": NEW})).status_code == 200


async def test_nobody_hears_whether_there_is_an_account(site: Site, inbox: Inbox) -> None:
    for name in ("bert", ANNA):
        await site.visitor(name)
    names = ("bert", "nobody@studio.example", "a\nBcc: b@c.example", *[ANNA] * 5)
    assert [await forgotten(site.client(), name) for name in names] == [204] * 8
    await until(lambda: len(inbox.texts) == 3)
    await site.service.accounts._mailer.close()  # type: ignore[union-attr]
    assert len(inbox.texts) == 3, "of one account in an hour"


async def test_without_a_server_the_administrator_is_asked(tmp_path: Path) -> None:
    async with open_site(tmp_path, FakePictures()) as site:
        assert not (await site.client().get("/api/status")).json()["mail"]
        assert await forgotten(site.client(), ANNA) == 404


async def test_refusals_say_what_to_check(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    inbox.refusal = "554 no such sender"
    for config, trust, words in (
        (inbox.config(), inbox.trust, "554 no such sender; check --mail-from"),
        (inbox.config(smtp_password="wrong"), inbox.trust, "refuses --smtp-user or --smtp-password: 535"),
        (inbox.config(), None, "the certificate of 127.0.0.1"),
        (inbox.config(smtp_tls="tls"), inbox.trust, "check --smtp and --smtp-tls"),
        (inbox.config(smtp_tls="none"), inbox.trust, "check --smtp-tls"),
        (inbox.config(smtp=Address("127.0.0.1", 1)), inbox.trust, "cannot be reached"),
    ):
        with pytest.raises(MailRefused, match=re.escape(words)):
            await asyncio.to_thread(Mailer(config, trust).send, ANNA, "secret")
    mailer = Mailer(inbox.config(), inbox.trust)
    with caplog.at_level(logging.ERROR):
        mailer.send_later(ANNA, "secret")
        await mailer.close()
    assert "554" in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mail_from": None}, "--mail-from"),
        ({"mail_page": "studio.example"}, "--mail-page"),
        ({"smtp": Address("mail.example", 25), "smtp_tls": "none"}, "unencrypted"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object], words: str) -> None:
    given = {"smtp": Address("127.0.0.1", 25), "smtp_user": "a", "mail_from": "a@b.example", "mail_page": "https://b"}
    with pytest.raises(ValueError, match=words):
        MailConfig(**{**given, **changes})  # type: ignore[arg-type]


def test_password_is_not_shown() -> None:
    assert "s3cret" not in repr(MailConfig(smtp_password="s3cret"))
