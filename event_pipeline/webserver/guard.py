"""What the guard before Dagster's web server lets through.

Dagster has no authentication, accepts GraphQL mutations by GET, and looks at neither `Host` nor `Origin`: a page of any
site that is open in a browser on this machine could start and delete runs. Refused are

- names that are not the server's own in `Host` (DNS rebinding) and in `Origin`, of web sockets as well;
- requests that a browser says another site has made, but for links that lead to a page;
- commands by GET, and bodies of the kinds that a form can send.

Programs send neither `Origin` nor `Sec-Fetch-Site` and are let through: who may reach the port is not decided here
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
    """An ASGI application before another one."""

    def __init__(self, application: Application, names: Iterable[str] = ()) -> None:
        self._application = application
        self._names = frozenset(name.lower() for name in names)
        """Names besides this machine's own, `name` or `name:port`, as `Host` has them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._application(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            # Before it is accepted, closing is a refusal: the server answers 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1][:100]})
        else:
            await _answer(send, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason when a request is not let through."""
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
        # The address at which it was reached: an address cannot be made to lead elsewhere, as a name can.
        return self._names | {f"{name}:{port}" for name in (*LOOPBACK_NAMES, literal)}

    def _is_own(self, name: str, own: frozenset[str], default_port: int = 80) -> bool:
        name = name.lower()
        return name in own or f"{name}:{default_port}" in own


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen at is reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def exposure_warning(host: str) -> str:
    """Say what it means that the server listens at an address which other machines reach."""
    return (
        f"the Dagster UI listens at {host}, beyond this machine, and asks nobody who they are: whoever reaches the "
        "port can start and delete runs. Put a proxy with authentication before it: docs/security.md"
    )


def names_of(setting: str) -> list[str]:
    """Read EVENT_PIPELINE_UI_HOSTS: names with commas between."""
    return [name.strip() for name in setting.split(",") if name.strip()]


def _refusal_of_reading(scope: Scope) -> tuple[int, str] | None:
    """Return why a GraphQL request by GET is refused: only what reads is let through."""
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for text in (value for name, value in asked if name == "query"):
        try:
            document = parse(text)
        except (GraphQLError, RecursionError):
            return 400, "the GraphQL query cannot be read"
        for node in document.definitions:
            if isinstance(node, OperationDefinitionNode) and node.operation is not OperationType.QUERY:
                return 405, f"a GraphQL {node.operation.value} is not taken by GET: send it by POST as application/json"
    return None


def _refusal_of_writing(scope: Scope, *, asks_graphql: bool) -> tuple[int, str] | None:
    """Return why a POST is refused: forms can send any body but JSON, and commands in the address."""
    types = [text.split(";")[0].strip().lower() for text in _headers(scope, b"content-type")]
    if types == ["application/json"] or (not types and not asks_graphql):
        return None
    return 415, "a POST is taken as Content-Type application/json only"


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
    """Add to every answer that no page of another site may show it in a frame, where clicks can be stolen."""

    async def send_unframed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (b"x-frame-options", b"SAMEORIGIN")]}
        await send(message)

    return send_unframed
