"""Chromium without a window, driven as the W3C's WebDriver says; nothing that it opens reaches a network."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
_SECONDS = 30.0


class Browser:
    """A window that nobody sees."""

    def __init__(self, port: int, profile: Path, width: int, height: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._opener = build_opener(ProxyHandler({}))
        self._await_driver()
        flags = [*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        wanted = {
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self._base += f"/session/{session}"

    def _await_driver(self) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self._ask("GET", "/status")
                return
            except (URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with self._opener.open(request, timeout=_SECONDS) as answer:
            return json.load(answer)["value"]

    def open(self, file: Path, fragment: str = "") -> None:
        """Open a file and wait until it is loaded."""
        self._ask("POST", "/url", {"url": file.as_uri() + fragment})

    def run(self, script: str) -> Any:
        """What a function body in JavaScript returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def until(self, condition: str) -> Any:
        """Wait until an expression in JavaScript is true or something, and return it."""
        deadline = time.monotonic() + _SECONDS
        while not (found := self.run(f"return {condition}")):
            assert time.monotonic() < deadline, f"never true: {condition}"
        return found

    def emulate(self, command: str, **values: Any) -> None:
        """A command of the DevTools protocol's Emulation domain."""
        self._ask("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": values})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What has been logged since the last time: "browser" for messages and errors, "performance" for requests."""
        return list(self._ask("POST", "/se/log", {"type": kind}))

    def requests(self) -> list[str]:
        """The addresses that pages asked for, the opened files included.

        Not what the browser asks itself for when it starts: that may be logged late, and no file may ask for chrome:.
        """
        events = [json.loads(one["message"])["message"] for one in self.log("performance")]
        urls = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return [one for one in urls if not one.startswith("chrome:")]

    def picture(self, file: Path) -> None:
        """What is to be seen, as a PNG file."""
        file.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def close(self) -> None:
        """Close the window; the browser ends."""
        self._ask("DELETE", "")


@contextmanager
def browser(profile: Path, width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """A browser with a profile of its own, which is new."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], **quiet)  # type: ignore[call-overload]
    try:
        opened = Browser(port, profile, width, height)
        try:
            yield opened
        finally:
            opened.close()
    finally:
        driver.terminate()
        driver.wait(_SECONDS)
