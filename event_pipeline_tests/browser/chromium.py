"""Drives a headless Chromium over its DevTools protocol, and keeps what a page reports and asks for."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

SECONDS_TO_START = 60.0
SECONDS_TO_ANSWER = 30.0
EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")


class PageError(AssertionError):
    """A page did not do what it was told to."""


def executable() -> str:
    """Return the path of the browser.

    Raises:
        LookupError: it is not installed.
    """
    for name in EXECUTABLES:
        if found := shutil.which(name):
            return found
    raise LookupError(f"none of {', '.join(EXECUTABLES)} is installed: on Debian, apt-get install chromium")


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.complaints: list[str] = []
        """Messages of the console, exceptions and violations of the page's policy."""
        self.requests: list[str] = []
        """Addresses that were asked for."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result; events that come meanwhile are kept.

        Raises:
            PageError: the browser refuses the call, or does not answer.
        """
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            try:
                message = json.loads(self._connection.recv(timeout=SECONDS_TO_ANSWER))
            except TimeoutError:
                raise PageError(f"{method}: no answer in {SECONDS_TO_ANSWER:.0f} s") from None
            if message.get("id") == self._number:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._keep(message)

    def _keep(self, message: Mapping[str, Any]) -> None:
        found = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled":
                self.complaints.append(f"console.{found['type']}: {found['args']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(str(found["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(f"{found['entry']['level']}: {found['entry']['text']}")
            case "Network.requestWillBeSent":
                self.requests.append(found["request"]["url"])

    def open(self, path: Path) -> None:
        """Open a file and wait until its scripts have run."""
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def visit(self, address: str, shows: str) -> None:
        """Open an address and wait until the page shows a text."""
        self.value("window.isLeft = true")
        self.call("Page.navigate", url=address)
        # The page may write its own address anew, but it does not know this mark.
        self.wait_for("!window.isLeft && document.readyState === 'complete'")
        self.wait_for_text(shows)

    def wait_for_text(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.wait_for(f"document.body.innerText.includes({json.dumps(text)})")

    def text(self) -> str:
        """Return what the page shows."""
        return str(self.value("document.body.innerText"))

    def click(self, label: str) -> None:
        """Wait for the button or link with this text, and click it."""
        wanted = json.dumps(label)
        self.wait_for(
            "(() => { const found = [...document.querySelectorAll('button, a')]"
            f".filter((each) => each.innerText.trim() === {wanted} && each.offsetParent && !each.disabled);"
            "found.at(-1)?.click(); return found.length > 0 })()"
        )

    def type_into(self, placeholder: str, text: str) -> None:
        """Replace the content of the field with this placeholder, and press Enter."""
        self.wait_for(
            f"(() => {{ const field = document.querySelector('input[placeholder={json.dumps(placeholder)}]');"
            "field?.focus(); field?.select(); return !!field })()"
        )
        self.call("Input.insertText", text=text)
        self.press("Enter")

    def value(self, expression: str) -> Any:
        """Return the value of an expression of the page.

        Raises:
            PageError: it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true.

        Raises:
            PageError: it stays false.
        """
        _wait(lambda: self.value(f"Boolean({expression})"), expression)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def look(self, *, width: int = 1200, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """Set the size of the window, the colour scheme and the medium, and wait until it is drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
        self.value(frames)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page, down to its end or of the window."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(taken["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def pdf(self, path: Path) -> None:
        """Print the page."""
        printed = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
        path.write_bytes(base64.b64decode(printed["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Start a browser with its profile in a folder, and yield its tab.

    Raises:
        LookupError: no browser is installed.
        PageError: it does not start.
    """
    command = [
        executable(),
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "--no-first-run",
    ]
    # Without a display and as root, in a container: no GPU, no sandbox of its own. It opens only the tests' own pages.
    command += ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "about:blank"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    log = folder / "chromium.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=stderr, stderr=stderr, env={**os.environ, "HOME": str(folder)})
        try:
            port = _wait_for_port(folder / "DevToolsActivePort", process, log)
            with connect(_tab(port), max_size=None, open_timeout=SECONDS_TO_START) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_port(path: Path, process: subprocess.Popen[bytes], log: Path) -> int:
    def written() -> bool:
        if process.poll() is not None:
            raise PageError(f"the browser ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
        return path.is_file() and len(path.read_text().splitlines()) == 2

    _wait(written, f"{path}, which the browser writes when it has started")
    return int(path.read_text().splitlines()[0])


def _tab(port: int) -> str:
    from urllib.request import urlopen

    def tabs() -> list[dict[str, Any]]:
        with urlopen(f"http://127.0.0.1:{port}/json", timeout=SECONDS_TO_ANSWER) as answer:
            return [each for each in json.load(answer) if each["type"] == "page"]

    _wait(tabs, "a tab of the browser")
    return str(tabs()[0]["webSocketDebuggerUrl"])


def _wait(fact: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not fact():
        if time.monotonic() > deadline:
            raise PageError(f"waited {SECONDS_TO_START:.0f} s in vain for {what}")
        time.sleep(0.05)
