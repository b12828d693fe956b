"""Pages of other origins that may use the server: CORS, for those that were named."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

# What a page may read beside the body.
EXPOSED = (
    "Retry-After",
    "X-Request-Id",
    *(
        f"X-Ratelimit-{what}-{of}"
        for what in ("Limit", "Remaining", "Reset")
        for of in (
            "Requests",
            "Tokens",
        )
    ),
)


def for_pages_of(origins: Sequence[str], app: ASGIApp) -> ASGIApp:
    """The application with the headers that let pages of these origins use it; "*": of all.

    No cookie counts here, so none is allowed. A page from the open network may reach a server on
    its user's own machine, if its origin was named: that is what it is named for.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        allow_private_network=True,
        expose_headers=EXPOSED,
    )
