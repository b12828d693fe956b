"""One HTTP request as the server sees it: whose it is, what it used, how it went."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hardcast.serve.access.accounts import Accounts
from hardcast.serve.access.keys import Key
from hardcast.serve.access.usage import Usage


@dataclass
class Call:
    """id: as the header x-request-id says it. key: None where none is asked for.

    address: the client's. owner: between whom the chip is shared fairly: the key, else the address.
    """

    id: str
    address: str
    owner: str
    accounts: Accounts | None = None
    key: Key | None = None
    usage: Usage | None = None
    begun: float = field(default_factory=time.perf_counter)

    async def admit(self, prompt_tokens: int) -> dict[str, str]:
        """Pays for the request; returns headers. Raises ApiError 429."""
        if self.accounts is None or self.key is None:
            return {}
        return await self.accounts.admit(self.key, prompt_tokens)

    def charge(self, usage: Usage) -> None:
        """Notes what was used, for the key and for the log."""
        self.usage = usage
        if self.accounts is not None and self.key is not None:
            self.accounts.charge_later(self.key, usage)
