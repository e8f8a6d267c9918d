"""Links to set a forgotten password, by mail through an SMTP server."""

import asyncio
import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from common.errors import BodywireError
from common.text import printable
from receiver.web.config import MailConfig

logger = logging.getLogger(__name__)

_TIMEOUT_S = 20.0
_TEXT = """\
Somebody, probably you, has forgotten the password of {name} at {page}.

This link sets another one. It is valid for a day, and can be used once:

{link}

If it was not you, do nothing: the password stays as it is.
"""


class MailRefused(BodywireError):
    """A mail was not taken; the text says why, for the receiver's administrator."""


class Mailer:
    """Sends the links.

    Args:
        trust: whose certificates are accepted; the system's authorities by default.
    """

    def __init__(self, config: MailConfig, trust: ssl.SSLContext | None = None) -> None:
        self._config = config
        self._trust = trust or ssl.create_default_context()
        self._sending: set[asyncio.Task[None]] = set()

    def send_later(self, account: str, secret: str) -> None:
        """Sends a link to the account whose name is a mail address, without waiting; failures are logged."""
        task = asyncio.create_task(self._send(account, secret), name="mail")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        """Waits for the mails that are being sent."""
        await asyncio.gather(*self._sending)

    async def _send(self, account: str, secret: str) -> None:
        try:
            await asyncio.to_thread(self.send, account, secret)
        except MailRefused as error:
            logger.error("no mail to %s: %s", printable(account, 100), error)

    def send(self, account: str, secret: str) -> None:
        """Sends a link. Raises MailRefused."""
        server = self._config.smtp
        try:
            with self._connected() as connection:
                connection.send_message(self._message(account, secret))
        except smtplib.SMTPAuthenticationError as error:
            raise MailRefused(f"{server} refuses --smtp-user or --smtp-password: {_said(error)}") from error
        except smtplib.SMTPNotSupportedError as error:
            raise MailRefused(f"{server} cannot do this: {error}; check --smtp-tls and --smtp-user") from error
        except smtplib.SMTPRecipientsRefused as error:
            ((code, text),) = error.recipients.values()
            raise MailRefused(f"{server} refuses the recipient: {code} {_words(text)}") from error
        except smtplib.SMTPResponseException as error:
            raise MailRefused(f"{server} refuses the mail: {_said(error)}; check --mail-from") from error
        except ssl.SSLCertVerificationError as error:
            raise MailRefused(f"the certificate of {server} is not trusted: {error.verify_message}") from error
        except (OSError, smtplib.SMTPException) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MailRefused(f"{server} cannot be reached ({reason}): check --smtp and --smtp-tls") from error

    def _connected(self) -> smtplib.SMTP:
        config = self._config
        assert config.smtp is not None
        host, port = config.smtp.host, config.smtp.port
        if config.smtp_tls == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=self._trust)
        else:
            connection = smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
        try:
            if config.smtp_tls == "starttls":
                connection.starttls(context=self._trust)
            if config.smtp_user is not None:
                connection.login(config.smtp_user, config.smtp_password or "")
        except BaseException:
            connection.close()
            raise
        return connection

    def _message(self, account: str, secret: str) -> EmailMessage:
        config, page = self._config, (self._config.mail_page or "").rstrip("/")
        message = EmailMessage()
        message["From"], message["To"] = config.mail_from, account
        message["Subject"] = "Set a new password"
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="bodywire.invalid")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(_TEXT.format(name=account, page=page, link=f"{page}/#reset/{secret}"))
        return message


def _said(error: smtplib.SMTPResponseException) -> str:
    return f"{error.smtp_code} {_words(error.smtp_error)}"


def _words(text: bytes | str) -> str:
    return printable(text if isinstance(text, str) else text.decode(errors="replace"), 200)
