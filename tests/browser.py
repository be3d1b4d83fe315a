"""A real browser for tests: Chromium without a window, over its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import websocket

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
    "--remote-allow-origins=*", "--hide-scrollbars", "--disable-dev-shm-usage",
]  # fmt: skip


class Browser:
    """Chromium with a fresh profile. To be used in a ``with`` block; `page` opens tabs."""

    def __init__(self, profile):
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("needs chromium (apt-get install chromium)")
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._pages, port = [], Path(profile) / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not port.exists() or not port.read_text().strip():
            assert self._process.poll() is None, "chromium ended at once"
            assert time.monotonic() < end, "chromium did not start"
            time.sleep(0.05)
        self._port = port.read_text().split()[0]

    def page(self, url, size=(1280, 720)):
        """A new tab with a page in it."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=20) as answer:
            page = Page(json.load(answer)["webSocketDebuggerUrl"])
        self._pages.append(page)
        page.call("Page.enable")
        page.resize(size)
        page.call("Page.navigate", url=url)
        while page.evaluate("location.href") != url or page.evaluate("document.readyState") != "complete":
            time.sleep(0.02)
        return page

    def kill(self):
        """As a crash would."""
        self._process.kill()
        self._process.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for page in self._pages:
            page.close()
        self.kill()


class Page:
    """A tab."""

    def __init__(self, address):
        self._socket = websocket.create_connection(address, timeout=30)
        self._numbers = itertools.count(1)

    def call(self, method, **parameters):
        """A command of the DevTools protocol, and its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def evaluate(self, expression):
        """The value of an expression of JavaScript."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key, code):
        """A key, as its name and Windows' number."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def resize(self, size):
        """The tab's inner size."""
        width, height = size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path):
        """As PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))
        return path

    def close(self):
        """Leaves the tab to the browser."""
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._socket.close()
