"""API keys, requests for access, limits and usage, in one SQLite file that all processes share.

A key is `hc-<id>-<secret>`: the id finds its row, the secret is 32 random bytes of which only the
SHA-256 is kept. A slow hash (scrypt, bcrypt) protects words that people choose; 256 random bits
cannot be guessed however fast the hash is, and a slow one would let anybody keep the server busy.
Comparison takes the same time whatever is wrong, also where there is no such id.

The file is in WAL mode: readers never wait, and what was committed survives a kill.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hardcast.errors import HardcastError
from hardcast.files import check_above, check_file
from hardcast.serve.access.limits import Account, Bucket, Limits, Refused
from hardcast.serve.access.usage import Usage

SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY, hash BLOB NOT NULL, name TEXT NOT NULL, email TEXT NOT NULL,
  created REAL NOT NULL, revoked REAL, requests_per_minute INTEGER, tokens_per_minute INTEGER);
CREATE TABLE IF NOT EXISTS access_requests (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, purpose TEXT NOT NULL,
  created REAL NOT NULL, state TEXT NOT NULL, key_id TEXT);
CREATE TABLE IF NOT EXISTS usage (
  key_id TEXT NOT NULL, day TEXT NOT NULL, requests INTEGER NOT NULL DEFAULT 0,
  prompt_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
  completion_tokens INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (key_id, day));
CREATE TABLE IF NOT EXISTS buckets (
  key_id TEXT PRIMARY KEY, requests REAL, requests_at REAL, tokens REAL, tokens_at REAL);
"""
EMAIL, LONGEST_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$", 254
BUSY_MS = 2000  # to wait for another process's write
MOST_PENDING = 1000  # requests for access that may wait; more are refused
SHAPE = re.compile(r"hc-([a-z0-9]{8})-([A-Za-z0-9_-]{43})")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
NOBODY = bytes(32)


@dataclass(frozen=True)
class Key:
    """What is known of a key; never its secret."""

    id: str
    name: str
    email: str
    created: float
    revoked: float | None
    limits: Limits


@dataclass(frozen=True)
class DayUsage:
    """What a key used on one day (UTC)."""

    key_id: str
    day: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Asked:
    """A request for access. state: "pending", "approved" or "denied"."""

    id: str
    name: str
    email: str
    purpose: str
    created: float
    state: str
    key_id: str | None


def check_email(email: str) -> None:
    """Raises HardcastError for what is no e-mail address; nothing at all may stand for none."""
    if email and (len(email) > LONGEST_EMAIL or not re.fullmatch(EMAIL, email)):
        raise HardcastError(
            f"--email: expected an address such as ada@example.org, found {email!r:.100}"
        )


class KeyStore:
    """The file of keys. Safe to use from any thread; opened anew in each process.

    Raises HardcastError where the file cannot be opened, is damaged or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        check_above(path)
        check_file(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Made with these rights before SQLite makes it with others.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(
                path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise HardcastError(f"{path}: cannot be used as the file of keys: {error}") from None

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    def create(self, name: str, email: str = "", limits: Limits | None = None) -> tuple[Key, str]:
        """A new key and its text, which is shown once and cannot be had again."""
        with self._write() as db:
            return self._create(db, name, email, limits or Limits())

    def _create(
        self, db: sqlite3.Connection, name: str, email: str, limits: Limits
    ) -> tuple[Key, str]:
        key_id = _new_id()
        secret = secrets.token_urlsafe(32)
        key = Key(key_id, name, email, time.time(), None, limits)
        db.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL, ?, ?)",
            (key_id, _hash(secret), name, email, key.created, limits.requests, limits.tokens),
        )
        return key, f"hc-{key_id}-{secret}"

    def find(self, text: str) -> Key | None:
        """The key that a text is, unless there is none or it was revoked."""
        match = SHAPE.fullmatch(text)
        key_id, secret = (match[1], match[2]) if match else ("", "")
        with self._lock:
            row = self._db.execute(
                "SELECT hash, name, email, created, revoked, requests_per_minute, "
                "tokens_per_minute FROM keys WHERE id = ?",
                (key_id,),
            ).fetchone()
        right = hmac.compare_digest(_hash(secret), row[0] if row else NOBODY)
        if row is None or not right or row[4] is not None:
            return None
        return Key(key_id, row[1], row[2], row[3], row[4], Limits(row[5], row[6]))

    def keys(self) -> list[Key]:
        """All keys, oldest first."""
        rows = self._read(
            "SELECT id, name, email, created, revoked, requests_per_minute, tokens_per_minute "
            "FROM keys ORDER BY created"
        )
        return [Key(i, n, e, made, ended, Limits(*rest)) for i, n, e, made, ended, *rest in rows]

    def revoke(self, key_id: str) -> None:
        """Ends a key at once. Raises HardcastError if there is none or it has ended."""
        with self._write() as db:
            done = db.execute(
                "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL",
                (time.time(), key_id),
            )
            if not done.rowcount:
                raise HardcastError(f"no key {key_id!r:.40} in use; see `hardcast keys list`")

    def request_access(self, name: str, email: str, purpose: str) -> str:
        """Puts a request for access into the queue; returns its id.

        Raises HardcastError while too many wait.
        """
        with self._write() as db:
            (waiting,) = db.execute(
                "SELECT count(*) FROM access_requests WHERE state = 'pending'"
            ).fetchone()
            if waiting >= MOST_PENDING:
                raise HardcastError("too many requests for access are waiting; try again later")
            asked_id = _new_id()
            db.execute(
                "INSERT INTO access_requests VALUES (?, ?, ?, ?, ?, 'pending', NULL)",
                (asked_id, name, email, purpose, time.time()),
            )
        return asked_id

    def asked(self, everything: bool = False) -> list[Asked]:
        """Requests for access that wait, or all, oldest first."""
        where = "" if everything else "WHERE state = 'pending'"
        rows = self._read(
            "SELECT id, name, email, purpose, created, state, key_id "
            f"FROM access_requests {where} ORDER BY created"
        )
        return [Asked(*row) for row in rows]

    def approve(self, asked_id: str, limits: Limits | None = None) -> tuple[Key, str]:
        """Makes a key for who asked. Raises HardcastError unless the request waits."""
        with self._write() as db:
            row = db.execute(
                "SELECT name, email FROM access_requests WHERE id = ? AND state = 'pending'",
                (asked_id,),
            ).fetchone()
            if row is None:
                raise _no_request(asked_id)
            key, text = self._create(db, row[0], row[1], limits or Limits())
            db.execute(
                "UPDATE access_requests SET state = 'approved', key_id = ? WHERE id = ?",
                (key.id, asked_id),
            )
        return key, text

    def deny(self, asked_id: str) -> None:
        """Refuses a request. Raises HardcastError unless it waits."""
        with self._write() as db:
            done = db.execute(
                "UPDATE access_requests SET state = 'denied' WHERE id = ? AND state = 'pending'",
                (asked_id,),
            )
            if not done.rowcount:
                raise _no_request(asked_id)

    def admit(self, key: Key, prompt_tokens: int, now: float) -> tuple[Account, Refused | None]:
        """Pays for a request from the key's buckets, or says why not. May raise sqlite3.Error."""
        with self._write() as db:
            account, refused = _account(db, key.id).admit(key.limits, prompt_tokens, now)
            _keep(db, key.id, account)
        return account, refused

    def charge(self, key: Key, usage: Usage, now: float) -> Account:
        """Adds to a key's usage and pays for the answer's tokens. May raise sqlite3.Error."""
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        tokens = (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
        with self._write() as db:
            db.execute(
                "INSERT INTO usage VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT (key_id, day) DO UPDATE "
                "SET requests = requests + excluded.requests, "
                "prompt_tokens = prompt_tokens + excluded.prompt_tokens, "
                "cached_tokens = cached_tokens + excluded.cached_tokens, "
                "completion_tokens = completion_tokens + excluded.completion_tokens",
                (key.id, day, *tokens),
            )
            account = _account(db, key.id).charge(key.limits, usage.completion_tokens, now)
            _keep(db, key.id, account)
        return account

    def usage(self, key_id: str | None = None) -> list[DayUsage]:
        """Usage by key and day, of one key or of all."""
        where, values = ("", ()) if key_id is None else ("WHERE key_id = ?", (key_id,))
        rows = self._read(
            "SELECT key_id, day, requests, prompt_tokens, cached_tokens, completion_tokens "
            f"FROM usage {where} ORDER BY key_id, day",
            values,
        )
        return [DayUsage(*row) for row in rows]

    def _read(self, query: str, values: tuple[str, ...] = ()) -> list[tuple]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process can come between."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise


def _account(db: sqlite3.Connection, key_id: str) -> Account:
    row = db.execute(
        "SELECT requests, requests_at, tokens, tokens_at FROM buckets WHERE key_id = ?", (key_id,)
    ).fetchone()
    if row is None:
        return Account()
    buckets = [None if level is None else Bucket(level, at) for level, at in (row[:2], row[2:])]
    return Account(*buckets)


def _keep(db: sqlite3.Connection, key_id: str, account: Account) -> None:
    columns: list[float | None] = []
    for bucket in (account.requests, account.tokens):
        columns += (None, None) if bucket is None else (bucket.level, bucket.updated)
    db.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)", (key_id, *columns))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()


def _new_id() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(8))


def _no_request(asked_id: str) -> HardcastError:
    return HardcastError(f"no request {asked_id!r:.40} waits; see `hardcast keys requests`")
