"""The guard in front of Dagster's web server.

Dagster has no authentication, accepts GraphQL mutations by GET, and checks neither `Host` nor `Origin`: a page of any
site that is open in a browser on this machine could start and delete runs. The guard refuses

- names other than the server's own in `Host` (DNS rebinding) and in `Origin`, including web sockets;
- requests that a browser marks as made by another site, except links to a page;
- mutations by GET, and content types that a form can send.

Programs send neither `Origin` nor `Sec-Fetch-Site` and are allowed: access to the port is not controlled here
(docs/security.md).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from event_pipeline.rules.printable import printable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
READING = frozenset(("GET", "HEAD"))
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Guard:
    """ASGI middleware around an application."""

    def __init__(self, application: Application, names: Iterable[str] = ()) -> None:
        self._application = application
        self._names = frozenset(name.lower() for name in names)
        """Names in addition to this machine's own, `name` or `name:port`, as in `Host`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._application(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            # Closing before accepting is a refusal: the server answers 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1][:100]})
        else:
            await _answer(send, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason if a request is refused."""
        own = self._own_names(scope)
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not self._is_own(hosts[0], own):
            return 421, (
                f"Host {printable(', '.join(hosts))!r} is not a name of this server. If it is one, for example behind "
                "a proxy, set EVENT_PIPELINE_UI_HOSTS to it"
            )
        for origin in _headers(scope, b"origin"):
            parts = urlsplit(origin)
            if parts.scheme not in _DEFAULT_PORTS or not self._is_own(parts.netloc, own, _DEFAULT_PORTS[parts.scheme]):
                return 403, f"a page of {printable(origin)!r} may not speak to this server"
        method = scope.get("method", "GET")
        asks_graphql = scope["path"].rstrip("/").endswith("/graphql")
        sites = _headers(scope, b"sec-fetch-site")
        leads_to_a_page = (
            scope["type"] == "http"
            and method in READING
            and not asks_graphql
            and _headers(scope, b"sec-fetch-mode") == ["navigate"]
            and _headers(scope, b"sec-fetch-dest") == ["document"]
        )
        if any(site not in ("same-origin", "none") for site in sites) and not leads_to_a_page:
            return 403, "a page of another site may not speak to this server"
        if scope["type"] == "websocket":
            return None
        if method in READING:
            return _refusal_of_reading(scope) if asks_graphql else None
        return _refusal_of_writing(scope, asks_graphql=asks_graphql) if method == "POST" else (405, "GET or POST only")

    def _own_names(self, scope: Scope) -> frozenset[str]:
        address, port = scope["server"]
        literal = f"[{address}]" if ":" in str(address) else str(address)
        # The address at which it was reached: unlike a name, an address cannot be rebound.
        return self._names | {f"{name}:{port}" for name in (*LOOPBACK_NAMES, literal)}

    def _is_own(self, name: str, own: frozenset[str], default_port: int = 80) -> bool:
        name = name.lower()
        return name in own or f"{name}:{default_port}" in own


def is_loopback(host: str) -> bool:
    """Return whether a listening address is reachable only from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def exposure_warning(host: str) -> str:
    """Return the warning for an address that other machines can reach."""
    return (
        f"the Dagster UI listens at {host}, reachable from other machines, without authentication: anyone who reaches "
        "the port can start and delete runs. Put an authenticating proxy in front of it: docs/security.md"
    )


def names_of(setting: str) -> list[str]:
    """Parse EVENT_PIPELINE_UI_HOSTS: comma-separated names."""
    return [name.strip() for name in setting.split(",") if name.strip()]


def _refusal_of_reading(scope: Scope) -> tuple[int, str] | None:
    """Return why a GraphQL request by GET is refused: only queries are allowed."""
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for text in (value for name, value in asked if name == "query"):
        try:
            document = parse(text)
        except (GraphQLError, RecursionError):
            return 400, "the GraphQL query cannot be read"
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode) and node.operation is not OperationType.QUERY:
                return (
                    405,
                    f"a GraphQL {node.operation.value} is not accepted by GET: send it by POST as application/json",
                )
    return None


def _refusal_of_writing(scope: Scope, *, asks_graphql: bool) -> tuple[int, str] | None:
    """Return why a POST is refused: forms can send any body but JSON, and mutations in the URL."""
    types = [text.split(";")[0].strip().lower() for text in _headers(scope, b"content-type")]
    if types == ["application/json"] or (not types and not asks_graphql):
        return None
    return 415, "a POST is accepted only with Content-Type application/json"


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


async def _answer(send: Send, status: int, reason: str) -> None:
    body = f"Refused: {reason}.\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _unframed(send: Send) -> Send:
    """Add headers to every response that forbid framing by other sites (clickjacking)."""

    async def send_unframed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (b"x-frame-options", b"SAMEORIGIN")]}
        await send(message)

    return send_unframed
