"""A mailer that keeps what it should send."""

from queue import Queue

from receiver.web.accounts.mail import Mailer
from receiver.web.config import MailConfig


class NotedMails(Mailer):
    """Keeps the secrets of links instead of sending them, in their order."""

    def __init__(self) -> None:
        super().__init__(MailConfig())
        self.secrets: Queue[str] = Queue()

    def send(self, account: str, secret: str) -> None:
        self.secrets.put(secret)
