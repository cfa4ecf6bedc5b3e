"""The real program in a process of its own, for tests that kill it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_S, END_S, ANSWER_S, COMMAND_S = 120.0, 60.0, 60.0, 900.0
"""How long a start, an end, an answer and a command may take on a machine that is busy with other tests, or that stands
still for a while; a free one needs a second or two for each, and twenty for the demo."""


class Daemon:
    """``chainwatch run …`` with its state in ``folder`` and HTTP on a free port; ended by its own pid."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.environ = {
            **os.environ,
            "STATE_DIRECTORY": str(folder),
            "CHAINWATCH__HTTP__LISTEN": "127.0.0.1:0",
            "PYTHONUNBUFFERED": "1",
        }
        self.log = (folder / "log").open("ab")
        self._begin = (folder / "log").stat().st_size
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chainwatch", "run", *arguments],
            env=self.environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self.kill()

    def output(self) -> str:
        """Return what it has printed and logged since it started."""
        return (self.folder / "log").read_bytes()[self._begin :].decode("utf-8", "replace")

    def url(self) -> str:
        """Return where it listens, once it does."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            for line in self.output().splitlines():
                if "listening on " in line:
                    return line.split("listening on ")[1].split('"')[0].strip()
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"it does not listen: {self.output()[-2000:]}")

    def ready(self) -> float:
        """Wait until ``/readyz`` says yes; return the seconds since this call."""
        began = time.monotonic()
        url = self.url()
        while time.monotonic() - began < START_S:
            status, body = get(url + "/readyz")
            if status == 200:
                return time.monotonic() - began
            time.sleep(0.05)
        raise AssertionError(f"it does not become ready: {body!r}")

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(END_S)
        self.log.close()

    def interrupt(self) -> int:
        """SIGINT, as Ctrl-C does; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(END_S)
        self.log.close()
        return code


def get(url: str) -> tuple[int, bytes]:
    """Return status and body of a GET on loopback."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as response:  # noqa: S310 (loopback only)
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def command(folder: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run one ``chainwatch`` command on the same state; return exit code, stdout and stderr."""
    environ = {**os.environ, "STATE_DIRECTORY": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "chainwatch", *arguments],
        env=environ,
        cwd=folder,
        input=stdin,
        capture_output=True,
        timeout=COMMAND_S,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def answer(folder: Path, *arguments: str) -> Any:
    """Run a command with ``--json``; return what it answers."""
    code, out, err = command(folder, *arguments, "--json")
    if code not in (0, 1):
        raise AssertionError(f"exit {code}: {err}")
    return json.loads(out)
