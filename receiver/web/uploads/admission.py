"""How much an account may upload and keep, pictures and clips together."""

from receiver.web.accounts.store import Account, account_exists
from receiver.web.config import UploadConfig
from receiver.web.database.database import Database
from receiver.web.library.service import Library
from receiver.web.models import store
from receiver.web.rate_limits import RateLimits
from receiver.web.refused import Refused

# Of one account; each costs a process that decodes it.
_UPLOADS = "60 per minute"


class Admission:
    """Admits the uploads of all kinds."""

    def __init__(self, config: UploadConfig, database: Database, library: Library) -> None:
        self.most = config.account_models
        self._database, self._library = database, library
        self._rates = RateLimits(_UPLOADS, "uploads")

    async def admit(self, account: Account) -> None:
        """Counts an upload. Raises Refused: 409 as `check`, 429 too many in a minute."""
        self._rates.take(str(account.id))
        await self.check(account)

    async def check(self, account: Account) -> None:
        """Raises Refused (409) if an account keeps as much as it may, or was removed."""
        if not await self._database.read_async(account_exists, account):
            raise Refused(409, "the account was removed")
        if not account.is_machines and await self.models(account) + self.clips(account) >= self.most:
            raise self.full()

    async def models(self, account: Account) -> int:
        """How many models an account keeps."""
        return await self._database.read_async(store.count_models, account)

    def clips(self, account: Account) -> int:
        """How many sessions of clips an account keeps."""
        return len(self._library.clips_of(account.name))

    def full(self) -> Refused:
        """The answer to an account that keeps as much as it may."""
        return Refused(409, f"the account keeps {self.most} models and clips: delete one first")
