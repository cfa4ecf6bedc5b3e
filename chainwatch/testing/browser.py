"""A real Chromium for tests, driven over its DevTools protocol: pages, clicks, what is seen, screenshots.

It runs without a window, in a profile of its own that goes afterwards, and reaches loopback only.
"""

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from chainwatch.testing.tools import find_tool, tools_dir

START_S, STOP_S, WAIT_S = 60.0, 10.0, 60.0
LARGEST_MESSAGE = 64 * 1024 * 1024  # a screenshot in base64

FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class NoBrowser(Exception):
    """This machine has no browser for tests; the text says why."""


def find_browser() -> Path:
    """Return Chromium (``CHROMIUM`` names one); ``NoBrowser`` without."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := find_tool(name)) is not None:
            return found
    raise NoBrowser("chromium is not installed (apt-get install chromium)")


def screenshots_dir() -> Path:
    """Return where screenshots are kept: ``$CHAINWATCH_SCREENSHOTS``, else ``.tools/screenshots``."""
    return Path(os.environ.get("CHAINWATCH_SCREENSHOTS", tools_dir() / "screenshots"))


class Browser:
    """One Chromium from ``start`` to ``stop``.  ``flags`` are added to the command line (a fake camera …)."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self._flags = flags
        self._home = Path(tempfile.mkdtemp(prefix="cw-browser-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def start(self) -> None:
        """Start it and connect; ``NoBrowser`` when it does not come up."""
        self._launch()
        try:
            url = await self._endpoint()
            self._session = aiohttp.ClientSession()
            self._socket = await self._session.ws_connect(url, max_msg_size=LARGEST_MESSAGE)
        except BaseException:
            await self.stop()
            raise
        self._reader = asyncio.create_task(self._read())

    def _launch(self) -> None:
        root = (
            ["--no-sandbox"] if os.geteuid() == 0 else []
        )  # Chromium's sandbox refuses root; it reaches loopback only
        command = [str(find_browser()), *FLAGS, *root, *self._flags, f"--user-data-dir={self._home}", "about:blank"]
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def stop(self) -> None:
        """End it by its process id and remove its profile."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()
        if self._session is not None:
            await self._session.close()
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait, STOP_S)
            self._process = None
        shutil.rmtree(self._home, ignore_errors=True)

    async def page(self, *, width: int = 390, height: int = 844, mobile: bool = True) -> "Page":
        """Open an empty page of a telephone's size."""
        target = await self.send("Target.createTarget", {"url": "about:blank"})
        attached = await self.send("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        page = Page(self, attached["sessionId"], target["targetId"])
        self._pages[attached["sessionId"]] = page
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
        await page.send("Emulation.setDeviceMetricsOverride", size)
        return page

    async def send(self, method: str, params: dict[str, Any] | None = None, session: str = "") -> dict[str, Any]:
        """Send one command; return its result."""
        assert self._socket is not None
        number = next(self._ids)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        await self._socket.send_str(json.dumps(message))
        async with asyncio.timeout(WAIT_S):
            answer = await future
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def _endpoint(self) -> str:
        """Return the DevTools address: Chromium writes port and path into its profile once it listens."""
        port = self._home / "DevToolsActivePort"
        async with asyncio.timeout(START_S):
            while True:
                lines = port.read_text().splitlines() if port.exists() else []
                if len(lines) == 2:
                    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
                if self._process is not None and self._process.poll() is not None:
                    tail = (self._home / "log").read_text(errors="replace").strip()[-300:]
                    raise NoBrowser(f"chromium ended at once: {tail}")
                await asyncio.sleep(0.05)

    async def _read(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            said = json.loads(message.data)
            if (future := self._answers.pop(said.get("id", 0), None)) is not None:
                if not future.done():
                    future.set_result(said)
            elif (page := self._pages.get(said.get("sessionId", ""))) is not None:
                page.heard(said["method"], said["params"])


class Page:
    """One tab.  ``problems``: what went wrong in it: exceptions, refused by its security policy, failed loads."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.problems: list[str] = []
        self.requested: list[str] = []

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send one command to this page."""
        return await self._browser.send(method, params, self._session)

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """Note an event."""
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])

    async def open(self, url: str, ready: str = "document.readyState === 'complete'") -> None:
        """Go to ``url`` and wait until the expression ``ready`` is true."""
        await self.send("Page.navigate", {"url": url})
        await self.until(ready)

    async def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression (promises are awaited)."""
        answer = await self.send(
            "Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True}
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = WAIT_S) -> Any:
        """Wait until an expression is truthy; ``TimeoutError`` with what is on the page."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        if value := await self.run(expression):
                            return value
                    except RuntimeError:
                        pass  # a page that is just being left
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            text = await self.run("document.body ? document.body.innerText.slice(0, 500) : ''")
            raise TimeoutError(f"{expression}\n{text}\n{self.problems}") from error

    async def click(self, selector: str) -> None:
        """Click in the middle of an element, as a finger does."""
        await self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        x, y = await self.run(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            at = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            await self.send("Input.dispatchMouseEvent", at)

    async def type(self, selector: str, text: str) -> None:
        """Put the cursor into a field, write ``text`` and press Enter."""
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", {"text": text})
        for kind in ("rawKeyDown", "char", "keyUp"):
            key = {"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            await self.send("Input.dispatchKeyEvent", key)

    async def screenshot(self, name: str) -> Path:
        """Keep a picture of what is seen; return its path."""
        answer = await self.send("Page.captureScreenshot", {"format": "png"})
        path = screenshots_dir() / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    async def accessibility(self, only: str = "document") -> list[str]:
        """Return what axe-core finds against WCAG 2.2 A and AA; ``NoBrowser`` where axe-core is not installed."""
        script = find_tool("axe")
        if script is None:
            raise NoBrowser("axe-core is not installed (npm)")
        await self.run(script.read_text("utf-8") + "\n;0")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = await self.run(
            f"axe.run({only}, {{runOnly: {json.dumps(tags)}}}).then(r => r.violations.map(v => "
            "v.id + ': ' + v.help + ' ' + v.nodes.map(n => n.target).join(' ')))"
        )
        return list(found)

    async def close(self) -> None:
        """Close the tab."""
        await self._browser.send("Target.closeTarget", {"targetId": self._target})


def camera_flags(path: Path, matrix: Sequence[Sequence[int]]) -> list[str]:
    """Write a film that shows a QR code (rows of modules, truthy is dark); return the flags that make it the camera."""
    write_film(path, matrix)
    return [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={path}",
    ]


def write_film(path: Path, matrix: Sequence[Sequence[int]], width: int = 640, height: int = 480) -> None:
    """Write two seconds of uncompressed video (YUV4MPEG2, 4:2:0) with a QR code in the middle of a grey wall."""
    size = len(matrix)
    scale = (height - 40) // (size + 8)  # four modules of quiet zone on each side
    across, down = (width - scale * (size + 8)) // 2, (height - scale * (size + 8)) // 2
    luma = bytearray(b"\xb4" * width * height)
    paint: Callable[[int, int], int] = lambda r, c: (  # noqa: E731
        20 if 0 <= r < size and 0 <= c < size and matrix[r][c] else 235
    )
    for r in range(-4, size + 4):
        line = b"".join(bytes([paint(r, c)]) * scale for c in range(-4, size + 4))
        for y in range(scale):
            start = (down + (r + 4) * scale + y) * width + across
            luma[start : start + len(line)] = line
    frame = b"FRAME\n" + bytes(luma) + b"\x80" * (width * height // 2)
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n".encode() + frame * 20)
