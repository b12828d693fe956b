"""What every request passes: its number, the host and key it must show, the log, failures."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import time
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hardcast.serve.access.accounts import Accounts
from hardcast.serve.errors import ApiError, internal_error
from hardcast.serve.http.access_log import AccessLog
from hardcast.serve.http.body import ClientGone
from hardcast.serve.http.call import Call
from hardcast.serve.http.metrics import Metrics
from hardcast.serve.http.origins import for_pages_of
from hardcast.serve.http.proxy import Proxies

log = logging.getLogger("hardcast.serve")
# What needs a key where keys are asked for. Pages, health and the request for access do not.
GUARDED = ("/v1/", "/tokenize", "/tokenizer_info", "/detokenize", "/metrics", "/page/render")
# Paths as labels of metrics; a stranger must not be able to make up more.
KNOWN = frozenset(
    "/ /health /metrics /tokenize /tokenizer_info /detokenize /docs /openapi.json /access "
    "/access/requests /v1/models /v1/chat/completions /v1/completions /page/render "
    "/page/facts".split()
)
GONE = 499  # in log and metrics: the client went away before the answer; nobody reads it


class Gate:
    """Middleware around the whole application.

    local_only: refuse names of other hosts, so that a page of another site whose name was pointed
    at this machine (DNS rebinding) cannot talk to a server without keys. origins: of pages
    elsewhere that may use it. proxies: whose word on the client's address is taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        accounts: Accounts | None,
        local_only: bool,
        access_log: AccessLog | None,
        origins: Sequence[str] = (),
        proxies: Sequence[str] = (),
    ) -> None:
        self._app, self._metrics, self._accounts = app, metrics, accounts
        self._local_only, self._access_log = local_only, access_log
        self._answer = for_pages_of(origins, self._admitted)
        self._proxies = Proxies(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; other kinds of connection pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer = (scope.get("client") or ("",))[0]
        forwarded = Headers(scope=scope).getlist("x-forwarded-for")
        address = self._proxies.client(peer, forwarded)
        call = Call(f"req_{secrets.token_hex(12)}", address, address, self._accounts)
        scope["call"] = call
        status, ended = 0, False

        async def sending(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.body":
                ended = not message.get("more_body")
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", call.id.encode("ascii")),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            try:
                await self._answer(scope, receive, sending)
            except ClientGone:
                status = GONE
                await Response(status_code=GONE)(scope, receive, send)
            except Exception:
                log.exception("%s: %s %s failed", call.id, scope["method"], scope["path"])
                if status and not ended:
                    raise  # half a reply is out already: the connection has to break
                if not status:
                    await internal_error(call.id).response()(scope, receive, sending)
        finally:
            path = scope["path"] if scope["path"] in KNOWN else "other"
            self._metrics.requests.labels(path, str(status or GONE)).inc()
            if self._access_log is not None:
                seconds = time.perf_counter() - call.begun
                self._access_log.write(
                    call, scope["method"], scope["path"], status or GONE, seconds
                )

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer to who may have one."""
        try:
            await self._admit(scope["path"], Headers(scope=scope), scope["call"])
            await self._app(scope, receive, send)
        except ApiError as error:
            await error.response()(scope, receive, send)

    async def _admit(self, path: str, headers: Headers, call: Call) -> None:
        """Raises ApiError 401 or 403."""
        host = headers.get("host", "")
        if self._local_only and not is_local(host):
            raise ApiError(
                403,
                f"this server answers to localhost and addresses only, not to {host!r:.100}; "
                "start it with --no-keys or with keys to allow other names",
                "host_not_allowed",
            )
        if self._accounts is not None and path.startswith(GUARDED):
            call.key = await self._accounts.find(headers.get("authorization", ""))
            call.owner = call.key.id


def is_local(host: str) -> bool:
    """Whether a Host header is localhost or an address: what DNS cannot point anywhere."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").lower().rstrip(".")
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
