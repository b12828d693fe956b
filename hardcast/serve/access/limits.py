"""Limits a minute as buckets: full at first, refilled evenly, and what is short says for how long.

A bucket of limit L gains L / 60 a second up to L. Requests are paid when they come; tokens are paid
when they are known: the prompt's at admission, the answer's at its end, so a bucket may fall below
nothing, and then the key waits until it is paid off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Bucket:
    """level: what is left. updated: seconds of the clock when that was so."""

    level: float
    updated: float

    def at(self, now: float, limit: int) -> Bucket:
        """The bucket later. A clock that went back changes nothing."""
        gained = max(now - self.updated, 0.0) * limit / 60
        return Bucket(min(self.level + gained, float(limit)), max(now, self.updated))


@dataclass(frozen=True)
class Limits:
    """A key's limits a minute; None: none."""

    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Account:
    """A key's two buckets; None: full."""

    requests: Bucket | None = None
    tokens: Bucket | None = None

    def admit(
        self, limits: Limits, prompt_tokens: int, now: float
    ) -> tuple[Account, Refused | None]:
        """Pays for one request and its prompt, or says why not; nothing is paid then."""
        requests = _later(self.requests, limits.requests, now)
        tokens = _later(self.tokens, limits.tokens, now)
        unchanged = Account(requests, tokens)
        if requests is not None and limits.requests is not None and requests.level < 1:
            wait = (1 - requests.level) * 60 / limits.requests
            return unchanged, Refused("requests", limits.requests, wait)
        # A prompt larger than the limit passes when the bucket is full: else it never could.
        if tokens is not None and limits.tokens is not None:
            needed = min(prompt_tokens, limits.tokens)
            if tokens.level < needed:
                wait = (needed - tokens.level) * 60 / limits.tokens
                return unchanged, Refused("tokens", limits.tokens, wait)
        paid = Account(
            requests and replace(requests, level=requests.level - 1),
            tokens and replace(tokens, level=tokens.level - prompt_tokens),
        )
        return paid, None

    def charge(self, limits: Limits, tokens: int, now: float) -> Account:
        """Pays for an answer's tokens, whatever is left."""
        bucket = _later(self.tokens, limits.tokens, now)
        return replace(self, tokens=bucket and replace(bucket, level=bucket.level - tokens))


@dataclass(frozen=True)
class Refused:
    """what: "requests" or "tokens", of which `limit` a minute are allowed. seconds: to wait."""

    what: str
    limit: int
    seconds: float


def _later(bucket: Bucket | None, limit: int | None, now: float) -> Bucket | None:
    if limit is None:
        return None
    return Bucket(float(limit), now) if bucket is None else bucket.at(now, limit)
