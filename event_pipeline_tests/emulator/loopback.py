"""Nothing leaves this machine: a guard over Python's sockets that refuses every address but loopback.

Standard library only, and loaded from its file by the emulated Glue job's interpreter too. It guards Python code;
the JVM under a Spark job is kept on loopback by its settings, not by this.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost"})
_GUARDED_CALLS = ("connect", "connect_ex", "sendto")


class LeftLoopbackError(RuntimeError):
    """Code tried to reach another machine. Not an OSError, so that no client takes it for a passing fault."""


def is_loopback(host: object) -> bool:
    """Return whether a host name or address means this machine."""
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.lower() in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def install(note: Callable[[str], object]) -> Callable[[], None]:
    """Guard this process from now on; call what is returned to lift the guard.

    `note` gets each refused host, because the error may be swallowed by who meets it.
    """

    def refuse(host: object) -> None:
        note(str(host))
        raise LeftLoopbackError(
            f"{host!r} is not this machine: emulated AWS refuses to leave loopback; is AWS_ENDPOINT_URL set?"
        )

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, *arguments: Any) -> Any:
            # The address is the last argument of sendto and the only one of connect.
            address = arguments[-1]
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
                refuse(address[0])
            return original(self, *arguments)

        return call

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        # A name is looked up by the C library, past the sockets guarded here.
        if not is_loopback(host):
            refuse(host)
        return originals["getaddrinfo"](host, *arguments, **options)

    originals: dict[str, Any] = {name: getattr(socket.socket, name) for name in _GUARDED_CALLS}
    originals["getaddrinfo"] = socket.getaddrinfo
    for name in _GUARDED_CALLS:
        setattr(socket.socket, name, guarded(originals[name]))
    socket.getaddrinfo = getaddrinfo

    def lift() -> None:
        for name in _GUARDED_CALLS:
            setattr(socket.socket, name, originals[name])
        socket.getaddrinfo = originals["getaddrinfo"]

    return lift


def install_for_job(report: str) -> None:
    """Guard a job's process permanently; `report` is the file that gets a line for each refused host."""

    def note(host: str) -> None:
        with open(report, "a", encoding="utf-8") as file:
            file.write(f"{host}\n")

    install(note)


@contextmanager
def only_loopback() -> Iterator[None]:
    """Guard a block, and fail it when anything in it tried to leave, even where that error was swallowed.

    Raises:
        LeftLoopbackError: something did, in this process.
    """
    left: list[str] = []
    lift = install(left.append)
    try:
        yield
    finally:
        lift()
    if left:
        raise LeftLoopbackError(f"emulated AWS was left for {', '.join(sorted(set(left)))}")
