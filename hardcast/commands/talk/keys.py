"""API keys of `serve`: made, listed, revoked, asked for; and what each used.

A key is shown once, when it is made; the file keeps a hash. Limits are a minute's; a running server
knows of a change at once.

Example:
  hardcast keys create "Ada" --email ada@example.org --tokens-per-minute 20000
  hardcast keys requests
  hardcast keys approve k3v9x2ab
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hardcast.commands._parameters import whole
from hardcast.commands.talk._keys import add_keys_file
from hardcast.console import Console, table
from hardcast.errors import HardcastError

if TYPE_CHECKING:
    from hardcast.serve.access.keys import Key, KeyStore

MOST_A_MINUTE = 1 << 40
SUBJECTS = {  # action: what follows it
    "create": "NAME",
    "list": None,
    "revoke": "ID",
    "requests": None,
    "approve": "ID",
    "deny": "ID",
    "usage": "[ID]",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=list(SUBJECTS),
        metavar="ACTION",
        help="create NAME | list | revoke ID | requests | approve ID | deny ID | usage [ID]",
    )
    parser.add_argument(
        "subject", nargs="?", metavar="NAME|ID", help="whose key; of a key or a request"
    )
    parser.add_argument("--email", default="", metavar="E", help="create: whose it is")
    for what in ("requests", "tokens"):
        parser.add_argument(
            f"--{what}-per-minute",
            type=whole(1, MOST_A_MINUTE),
            metavar="N",
            help=f"create, approve: limit of {what} (default: none)",
        )
    parser.add_argument("--all", action="store_true", help="requests: those decided on too")
    add_keys_file(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    wanted = SUBJECTS[args.action]
    if wanted is None and args.subject is not None:
        raise HardcastError(f"keys {args.action} takes nothing more; found {args.subject!r:.60}")
    if wanted in ("NAME", "ID") and not args.subject:
        raise HardcastError(f"keys {args.action} {wanted}: the {wanted.lower()} is missing")
    from hardcast.serve.access.keys import KeyStore, check_email

    check_email(args.email)
    actions: dict[str, Callable[[KeyStore, argparse.Namespace, Console], dict[str, Any]]] = {
        "create": create,
        "list": list_keys,
        "revoke": revoke,
        "requests": requests,
        "approve": approve,
        "deny": deny,
        "usage": usage,
    }
    store = KeyStore(args.keys_file)
    try:
        return actions[args.action](store, args, console)
    finally:
        store.close()


def create(store: KeyStore, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    return shown_once(*store.create(args.subject, args.email, limits_of(args)), console)


def approve(store: KeyStore, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    return shown_once(*store.approve(args.subject, limits_of(args)), console)


def shown_once(key: Key, text: str, console: Console) -> dict[str, Any]:
    """Prints a new key, alone on its line so that it can be piped on."""
    console.print(text)
    to = f"{key.name} <{key.email}>" if key.email else key.name
    if not console.as_json:
        console.error(f"the key of {to}, id {key.id}; it cannot be shown again")
    return {"id": key.id, "key": text, "name": key.name, "email": key.email}


def list_keys(store: KeyStore, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    found = store.keys()
    rows = [
        [
            key.id,
            key.name,
            key.email,
            day(key.created),
            limit(key.limits.requests),
            limit(key.limits.tokens),
            "in use" if key.revoked is None else f"revoked {day(key.revoked)}",
        ]
        for key in found
    ]
    header = ["id", "name", "e-mail", "made", "requests/min", "tokens/min", "state"]
    console.print(table(header, rows) if rows else "no keys")
    return {
        "keys": [
            {
                "id": key.id,
                "name": key.name,
                "email": key.email,
                "created": key.created,
                "revoked": key.revoked,
                "requests_per_minute": key.limits.requests,
                "tokens_per_minute": key.limits.tokens,
            }
            for key in found
        ]
    }


def revoke(store: KeyStore, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    store.revoke(args.subject)
    console.print(f"{args.subject} is revoked")
    return {"id": args.subject, "state": "revoked"}


def requests(store: KeyStore, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    found = store.asked(everything=args.all)
    rows = [
        [asked.id, day(asked.created), asked.name, asked.email, asked.state, line(asked.purpose)]
        for asked in found
    ]
    header = ["id", "asked", "name", "e-mail", "state", "purpose"]
    console.print(table(header, rows) if rows else "no requests")
    return {"requests": [vars(asked) for asked in found]}


def deny(store: KeyStore, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    store.deny(args.subject)
    console.print(f"{args.subject} is denied")
    return {"id": args.subject, "state": "denied"}


def usage(store: KeyStore, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    names = {key.id: key.name for key in store.keys()}
    if args.subject is not None and args.subject not in names:
        raise HardcastError(f"no key {args.subject!r:.40}; see `hardcast keys list`")
    found = store.usage(args.subject)
    rows = [
        [
            used.key_id,
            names.get(used.key_id, ""),
            used.day,
            *(str(n) for n in (used.requests, used.prompt_tokens, used.cached_tokens)),
            str(used.completion_tokens),
        ]
        for used in found
    ]
    header = ["id", "name", "day (UTC)", "requests", "prompt", "of it cached", "completion"]
    console.print(table(header, rows) if rows else "no usage")
    return {"usage": [vars(used) for used in found]}


def limits_of(args: argparse.Namespace) -> Any:
    from hardcast.serve.access.limits import Limits

    return Limits(args.requests_per_minute, args.tokens_per_minute)


def day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def limit(value: int | None) -> str:
    return "none" if value is None else str(value)


def line(text: str) -> str:
    """A stranger's text for a terminal: one line, without control characters."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown if len(shown) <= 80 else shown[:77] + "..."
