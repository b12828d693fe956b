"""Who may ask now, and who used what: the file of keys, with serving going on when it cannot write.

A full disk or a damaged file must not stop answers: limits are then kept in this process's memory,
usage is lost, and the log says so once, and once more when writing works again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hardcast.errors import HardcastError
from hardcast.serve.access.keys import Key, KeyStore
from hardcast.serve.access.limits import Account, Limits, Refused
from hardcast.serve.access.usage import Usage
from hardcast.serve.errors import ApiError, rate_limited, unauthorized

log = logging.getLogger("hardcast.serve")
T = TypeVar("T")
ACCESS_RETRY_SECONDS = 3600.0  # a person has to look at the queue first


class Accounts:
    """Keys of the requests of one process. Its file is touched by one thread, never by the loop."""

    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self._thread = ThreadPoolExecutor(1, "hardcast-keys")
        self._known: dict[str, Account] = {}  # as last seen, for when the file cannot be written
        self._failing = False

    async def find(self, header: str) -> Key:
        """The key of an Authorization header. Raises ApiError 401, or 503 without the file."""
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise unauthorized(
                "this server asks for a key: send the header Authorization: Bearer hc-..."
            )
        try:
            key = await self._aside(self.store.find, text.strip())
        except sqlite3.Error as error:
            self._failed(error)
            raise ApiError(503, "keys cannot be looked up now", "keys_unavailable") from None
        if key is None:
            raise unauthorized("incorrect API key, or one that was revoked")
        return key

    async def admit(self, key: Key, prompt_tokens: int) -> dict[str, str]:
        """Pays for a request; returns headers that say what is left. Raises ApiError 429."""
        if key.limits == Limits():
            return {}
        account, refused = await self._aside(self._admit, key, prompt_tokens)
        headers = _headers(key.limits, account)
        if refused is not None:
            raise _refusal(refused, headers)
        return headers

    def charge_later(self, key: Key, usage: Usage) -> None:
        """Adds a request to the key's usage, on the thread of the file. Never fails."""
        self._thread.submit(self._charge, key, usage)

    def _admit(self, key: Key, prompt_tokens: int) -> tuple[Account, Refused | None]:
        try:
            found = self.store.admit(key, prompt_tokens, time.time())
            self._worked()
        except sqlite3.Error as error:
            self._failed(error)
            known = self._known.get(key.id, Account())
            found = known.admit(key.limits, prompt_tokens, time.time())
        self._known[key.id] = found[0]
        return found

    def _charge(self, key: Key, usage: Usage) -> None:
        try:
            account = self.store.charge(key, usage, time.time())
            self._worked()
        except sqlite3.Error as error:
            self._failed(error)
            known = self._known.get(key.id, Account())
            account = known.charge(key.limits, usage.completion_tokens, time.time())
        self._known[key.id] = account

    async def request_access(self, name: str, email: str, purpose: str) -> str:
        """Queues a request for a key; returns its id. Raises ApiError 429 or 503."""
        try:
            return await self._aside(self.store.request_access, name, email, purpose)
        except HardcastError as error:
            raise rate_limited(str(error), ACCESS_RETRY_SECONDS) from None
        except sqlite3.Error as error:
            self._failed(error)
            raise ApiError(503, "requests cannot be kept now", "keys_unavailable") from None

    def close(self) -> None:
        """Waits for what is being written, then closes the file."""
        self._thread.shutdown()
        self.store.close()

    async def _aside(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _failed(self, error: sqlite3.Error) -> None:
        if not self._failing:
            self._failing = True
            log.error(
                "%s: %s; serving goes on, usage is not recorded and limits are kept in memory",
                self.store.path,
                error,
            )

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            log.warning("%s: can be written again", self.store.path)


def _headers(limits: Limits, account: Account) -> dict[str, str]:
    """What OpenAI's API says of limits with every answer."""
    found = {}
    for name, limit, bucket in (
        ("requests", limits.requests, account.requests),
        ("tokens", limits.tokens, account.tokens),
    ):
        if limit is not None and bucket is not None:
            found[f"x-ratelimit-limit-{name}"] = str(limit)
            found[f"x-ratelimit-remaining-{name}"] = str(max(int(bucket.level), 0))
            missing = (limit - bucket.level) * 60 / limit
            found[f"x-ratelimit-reset-{name}"] = f"{max(missing, 0):.3f}s"
    return found


def _refusal(refused: Refused, headers: dict[str, str]) -> ApiError:
    error = rate_limited(
        f"this key's limit of {refused.limit} {refused.what} a minute is reached; "
        f"try again in {refused.seconds:.1f} s",
        refused.seconds,
    )
    error.headers.update(headers)
    return error
