"""Who may come in, and what a browser may do with what goes out."""

import hmac
from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telltale.serve.settings import Settings, is_loopback

COOKIE = "telltale"
OPEN = ("/v1/health", "/login", "/assets/")  # reached without a token
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; worker-src 'self'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none, forms of ours would name no origin
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware: refuses foreign hosts, foreign pages and missing tokens; adds headers.

    On a loopback address without a token the names of this machine alone are answered, so that no
    web page can reach the server by pointing a name of its own at it. A browser's request that
    changes something must come from our own page.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Content-Security-Policy", POLICY)
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(
        self, scope: Scope, headers: Headers
    ) -> Callable[[Scope, Receive, Send], Awaitable[None]] | None:
        host = urlsplit(f"//{headers.get('host', '')}")
        try:
            name = host.hostname or ""
        except ValueError:
            name = ""
        if not self._settings.token and not is_loopback(name):
            return _problem(421, f"this server answers to localhost only, not to {name!r}")
        origin = headers.get("origin")
        if (
            origin
            and scope["method"] not in ("GET", "HEAD")
            and urlsplit(origin).netloc != (headers.get("host"))
        ):
            return _problem(403, "another site's page may not send anything here")
        path: str = scope["path"]
        if not self._settings.token or path.startswith(OPEN):
            return None
        if self.knows(_shown(headers)):
            return None
        if path.startswith("/v1/") or path == "/metrics":
            refusal = _problem(401, "want the header Authorization: Bearer TOKEN")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        return RedirectResponse("/login", 303)

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes as long for a near miss."""
        return hmac.compare_digest(token.encode(), self._settings.token.encode())


def _shown(headers: Headers) -> str:
    """The token of a request: from its header, or from the cookie that the page got."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    cookies = SimpleCookie()
    cookies.load(headers.get("cookie", ""))
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _problem(status: int, text: str) -> JSONResponse:
    return JSONResponse({"detail": text}, status)
