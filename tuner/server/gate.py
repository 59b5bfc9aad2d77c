"""The gate: the one way in, before anything else sees a request.

It says no by default. It knows no route: whoever presents no token gets nowhere but to the login, a viewer may only
read, and a route can but ask for more (`may_steer` in `tuner/server/service.py`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.server.entrance import LOGIN, page
from tuner.server.problems import mistake
from tuner.server.rates import Rate
from tuner.server.retry_after import retry_after
from tuner.server.tokens import Token, Tokens, now

_log = logging.getLogger(__name__)

SAFE = frozenset({"GET", "HEAD"})
LARGEST_BODY = 4 * 2**20
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})
_Headers: TypeAlias = Mapping[str, list[str]]

# BokehJS writes styles into elements; scripts are files of our own, and nothing is evaluated.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PROTECTION: Mapping[bytes, bytes] = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"x-frame-options": b"DENY",
}


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where the service is reached, as the gate must know it."""

    port: int
    hosts: frozenset[str] = _LOCAL
    """The names it answers to, lower case and without a port."""
    root_path: str = ""
    """What a proxy puts before every path."""
    trusts_proxy: bool = False
    """Whether what a proxy says of host and scheme counts."""
    secure: bool = False
    """Whether browsers come by https."""
    logins: Rate = field(default_factory=lambda: Rate(burst=10, per_s=0.2))
    """Of one who comes from one address."""
    asks: Rate = field(default_factory=lambda: Rate(burst=5_000, per_s=1_000))
    """Of trials, by one token: what fifty programs ask for on one core is a third."""

    @classmethod
    def on(cls, port: int, *, host: str = "127.0.0.1", allowed: Iterable[str] = (), **more: Any) -> Door:
        """The door of a service that is bound to a host, and is called by `allowed` names too."""
        bound = () if host in ("0.0.0.0", "::", "") else (f"[{host}]" if ":" in host else host,)
        return cls(port=port, hosts=frozenset(each.lower() for each in (*_LOCAL, *bound, *allowed)), **more)

    @property
    def cookie(self) -> str:
        """The name of the cookie: two services on one host keep theirs apart by the port."""
        return f"tuner-{self.port}"


class _Refused(Exception):
    """A request that gets no further: with a status, a word for programs, and a sentence."""

    def __init__(self, status: int, code: str, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.code, self.why, self.headers = status, code, why, headers or {}


class Gate:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, tokens: Tokens, door: Door) -> None:
        self.app, self.tokens, self.door = app, tokens, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in, or says why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:  # a websocket, which nothing here speaks: closed before it is accepted
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, answer = _headers_of(scope), _Answer(send)
        body = _Body(receive)
        try:
            body.check(headers)
            inside = self._let_in(scope, headers)
            await self.app(inside, body.receive, body.unless_too_long(answer.send))
            if body.too_long:
                raise body.refusal
        except _Refused as no:
            if not answer.started:
                await _say(answer.send, scope, headers, no)
        except Exception as error:
            _log.exception("a mistake inside tuner, at %s %s", scope["method"], _printable(scope["path"]))
            if not answer.started:
                await _say(answer.send, scope, headers, _Refused(500, "fault", mistake(error)))
            elif not answer.done:
                raise  # whoever listens learns of it by the connection's end

    def _let_in(self, scope: Scope, headers: _Headers) -> Scope:
        """The request as the application sees it, with who sent it."""
        origin = self._origin_of(scope, headers)
        self._check_origin(scope, headers, origin)
        root = self.door.root_path
        path = scope["path"]
        if root and (path == root or path.startswith(f"{root}/")):  # a proxy may cut it off, or not
            path = path[len(root) :] or "/"
        caller = self._caller(scope, headers, path)
        state = {**scope.get("state", {}), "caller": caller}
        secure = origin.startswith("https:")
        return {
            **scope,
            "root_path": root,
            "path": root + path,
            "scheme": "https" if secure else "http",
            "state": state,
        }

    def _origin_of(self, scope: Scope, headers: _Headers) -> str:
        """The origin that the browser sees, by a host that the service answers to."""
        named = headers.get("host", [])
        scheme = scope.get("scheme", "http")
        if self.door.trusts_proxy:
            named = headers.get("x-forwarded-host", named)
            scheme = headers.get("x-forwarded-proto", [scheme])[-1].strip().lower()
        host, port = _split(named[0]) if len(named) == 1 else ("", "")
        if host not in self.door.hosts:
            told = _printable(named[0]) if len(named) == 1 else f"{len(named)} of them"
            raise _Refused(
                403,
                "host",
                f"this service does not answer to the host {told}: another site may have sent your browser here. If it "
                f"is a name of this machine or of your proxy, start the service with --allow-host {told.split(':')[0]}",
            )
        return f"{scheme}://{host}:{port or _DEFAULT_PORTS.get(scheme, '')}"

    def _check_origin(self, scope: Scope, headers: _Headers, own: str) -> None:
        """What another page makes a browser send is refused, port and all."""
        for given in headers.get("origin", []):
            scheme, _, rest = given.lower().partition("://")
            host, port = _split(rest)
            if f"{scheme}://{host}:{port or _DEFAULT_PORTS.get(scheme, '')}" != own:
                raise _Refused(403, "origin", f"a page of {_printable(given)} asked for this, which is not {own}.")
        if scope["method"] not in SAFE and headers.get("sec-fetch-site", ["same-origin"]) not in (
            ["same-origin"],
            ["none"],
        ):
            raise _Refused(403, "origin", "a page of another site asked for this.")

    def _caller(self, scope: Scope, headers: _Headers, path: str) -> Token | None:
        """Who asks; None at the login alone."""
        if path == LOGIN:
            client = (scope.get("client") or ("",))[0]
            if scope.get("query_string") or scope["method"] not in SAFE:
                self._slow_down(client)
            return None
        token = self._by_token(headers) or self._by_cookie(scope, headers)
        if token is None:
            raise _Refused(
                401,
                "unauthorized",
                "this needs a token. A browser gets in by the link that `tuner serve --list` prints; a program sends "
                "the header Authorization: Bearer TOKEN.",
                {"www-authenticate": 'Bearer realm="tuner"'},
            )
        if scope["method"] not in SAFE and token.role != "operator":
            raise _Refused(403, "viewer", f"the token {token.name!r} may look, and change nothing.")
        return token

    def _slow_down(self, client: str) -> None:
        wait_s = self.door.logins.wait_s(client)
        if wait_s > 0:
            seconds = int(wait_s) + 1
            told = f"too many tries to log in; the next in {seconds} s."
            raise _Refused(429, "rate", told, retry_after(seconds))

    def _by_token(self, headers: _Headers) -> Token | None:
        given = headers.get("authorization", [])
        if not given:
            return None
        scheme, _, text = given[0].partition(" ")
        token = self.tokens.presented(text.strip()) if len(given) == 1 and scheme.lower() == "bearer" else None
        if token is None:  # a cookie beside it does not help
            raise _Refused(
                401,
                "unauthorized",
                "no such token.",
                {"www-authenticate": 'Bearer realm="tuner", error="invalid_token"'},
            )
        return token

    def _by_cookie(self, scope: Scope, headers: _Headers) -> Token | None:
        if scope["method"] not in SAFE and not (headers.get("origin") or headers.get("sec-fetch-site")):
            return None  # browsers name the page that a change comes from
        for line in headers.get("cookie", []):
            try:
                cookies = SimpleCookie(line)
            except CookieError:
                continue
            if self.door.cookie in cookies:
                return self.tokens.carried(cookies[self.door.cookie].value, now())
        return None


class _Answer:
    """An answer on its way out: with the policy, whatever it is."""

    def __init__(self, send: Send) -> None:
        self._send, self.started, self.done = send, False, False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            own = [(name, value) for name, value in message["headers"] if name.lower() not in PROTECTION]
            kept = any(name.lower() == b"cache-control" for name, _ in own)
            fresh = [] if kept else [(b"cache-control", b"no-store")]
            message = {**message, "headers": [*own, *fresh, *PROTECTION.items()]}
        self.done = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)


class _Body:
    """The body of a request, as far as it may go."""

    refusal = _Refused(413, "too_large", f"the body is longer than {LARGEST_BODY // 2**20} MiB.")

    def __init__(self, receive: Receive) -> None:
        self._receive, self._read, self.too_long = receive, 0, False

    def check(self, headers: _Headers) -> None:
        """Refuses what says itself that it is too long."""
        declared = headers.get("content-length", ["0"])[0]
        if declared.isdecimal() and int(declared[:20]) > LARGEST_BODY:
            raise self.refusal

    async def receive(self) -> Message:
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > LARGEST_BODY:
            self.too_long = True
            return {"type": "http.disconnect"}
        return message

    def unless_too_long(self, send: Send) -> Send:
        """The way out, closed once the body has proved too long: the application knows of half a body at most."""

        async def sent(message: Message) -> None:
            if not self.too_long:
                await send(message)

        return sent


async def _say(send: Send, scope: Scope, headers: _Headers, no: _Refused) -> None:
    """A refusal: for a browser's window as a page, for anybody else as JSON."""
    if no.status == 401 and scope["method"] in SAFE and "text/html" in ",".join(headers.get("accept", [])):
        kind, body = b"text/html; charset=utf-8", page(no.why, scope.get("root_path", "")).encode()
    else:
        kind, body = b"application/json", json.dumps({"code": no.code, "why": no.why}).encode()
    own = [(name.encode(), value.encode()) for name, value in no.headers.items()]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": no.status, "headers": [(b"content-type", kind), length, *own]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _headers_of(scope: Scope) -> _Headers:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _split(host: str) -> tuple[str, str]:
    """Name and port of a host, lower case."""
    name, colon, port = host.lower().rpartition(":")
    if colon and port.isdecimal():
        return name, port
    return host.lower(), ""


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "�" for each in text[:100])
