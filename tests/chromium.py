"""A headless Chromium for tests of the HTML report: the DevTools protocol over the browser's own pipe, no package needed.

    with Chromium() as browser:
        page = browser.page("file:///.../report.html", width=1200, height=800)
        page.until("document.body.dataset.ready"); page.key("j"); page.evaluate("document.title"); page.screenshot(path)

Why not Playwright: its wheel is 53 MB, and every `make train` installs requirements-dev.txt.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WAIT_S = 60  # for one answer; a loaded machine with two cores is slow
KEYS = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "PageDown": 34, "PageUp": 33, "Home": 36, "End": 35, "Tab": 9}


def found() -> str | None:
    """Path of a Chromium on this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A browser with an empty profile and without network use of its own; a context manager that ends it."""

    def __enter__(self):
        self._profile = tempfile.mkdtemp(prefix="report-chromium-")
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        # the browser reads orders on descriptor 3 and answers on 4: first move both out of the way of each other
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20) for descriptor in (orders, answers)]
        quiet = os.open(os.devnull, os.O_RDWR)
        arguments = [found(), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                     "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                     f"--user-data-dir={self._profile}", "about:blank"]  # fmt: skip
        actions = [
            (os.POSIX_SPAWN_DUP2, high[0], 3),
            (os.POSIX_SPAWN_DUP2, high[1], 4),
            *((os.POSIX_SPAWN_DUP2, quiet, out) for out in (0, 1, 2)),
        ]
        self._pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions, setpgroup=0)
        for descriptor in (orders, answers, quiet, *high):
            os.close(descriptor)
        self._unread, self._number, self.events = b"", 0, []
        return self

    def __exit__(self, *error):
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._orders)
        os.close(self._answers)
        shutil.rmtree(self._profile, ignore_errors=True)

    def order(self, method: str, session: str | None = None, **parameters) -> dict:
        """Result of one DevTools command; what happened meanwhile goes to `events`. Raises RuntimeError or TimeoutError."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._orders, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self, deadline: float, method: str) -> dict:
        while b"\0" not in self._unread:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium did not answer {method} within {WAIT_S} s")
            piece = os.read(self._answers, 2**20)
            if not piece:
                raise RuntimeError(f"Chromium ended during {method}")
            self._unread += piece
        text, _, self._unread = self._unread.partition(b"\0")
        return json.loads(text)

    def page(self, address: str, width: int = 1280, height: int = 850, is_dark: bool = False) -> "Page":
        """A new tab at an address; scripts, console and requests are recorded from the start."""
        target = self.order("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.order("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.order(f"{domain}.enable")
        page.order("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        page.order("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}])
        page.order("Page.navigate", url=address)
        return page


class Page:
    """One tab."""

    def __init__(self, browser: Chromium, session: str):
        self.browser, self.session = browser, session

    def order(self, method: str, **parameters) -> dict:
        return self.browser.order(method, self.session, **parameters)

    def evaluate(self, expression: str):
        """JSON value of a JavaScript expression; a promise is awaited. Raises RuntimeError when it throws."""
        result = self.order("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails'].get('exception', {}).get('description')}")
        return result["result"].get("value")

    def until(self, expression: str, timeout_s: float = WAIT_S) -> None:
        """Wait until an expression is true (an element is). Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression} was not true within {timeout_s} s")
            time.sleep(0.02)

    def key(self, key: str) -> None:
        """Press and release one key, as a person does."""
        code = {"windowsVirtualKeyCode": KEYS[key]} if key in KEYS else {"text": key}
        if key == "Enter":
            code["text"] = "\r"
        self.order("Input.dispatchKeyEvent", type="keyDown", key=key, **code)
        self.order("Input.dispatchKeyEvent", type="keyUp", key=key, **{name: value for name, value in code.items() if name != "text"})

    def type(self, text: str) -> None:
        self.order("Input.insertText", text=text)

    def screenshot(self, path: str | Path) -> None:
        Path(path).write_bytes(base64.b64decode(self.order("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """Exceptions, console messages, log entries and requests (the page itself aside) so far: what a good page has none of."""
        self.evaluate("0")
        found, is_first = [], True
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            method, parameters = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(f"exception: {parameters['exceptionDetails'].get('exception', {}).get('description')}")
            elif method == "Runtime.consoleAPICalled":
                found.append(f"console: {parameters['args']}")
            elif method == "Log.entryAdded":
                found.append(f"log: {parameters['entry']['text']}")
            elif method == "Page.javascriptDialogOpening":
                found.append(f"dialog: {parameters['message']}")
            elif method == "Network.requestWillBeSent":
                if not is_first:
                    found.append(f"request: {parameters['request']['url'][:200]}")
                is_first = False
        return found
