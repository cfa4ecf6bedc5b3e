"""Independent implementations in other languages, held against ours.

The packages are those of ``tests/setup/package.json``, in the folder of ``CHAINWATCH_TOOLS`` (default ``.tools``).
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.model import ChainSpec
from chainwatch.testing.process import command

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("CHAINWATCH_DIFFERENTIAL", "2000"))
"""Messages a scheme."""


class Oracle:
    """One long-lived Node.js process: a JSON line in, a JSON line out, in order."""

    def __init__(self, script: Path, modules: Path) -> None:
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen(
            [node, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={"PATH": os.environ["PATH"], "CHAINWATCH_MODULES": str(modules)},
        )

    def ask(self, requests: list[dict[str, Any]]) -> list[Any]:
        """The answers to all requests.  Written from another thread, or both sides would wait on a full pipe."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None

        def write() -> None:
            for request in requests:
                stdin.write(json.dumps(request) + "\n")
            stdin.flush()

        writer = threading.Thread(target=write)
        writer.start()
        answers = [json.loads(stdout.readline()) for _ in requests]
        writer.join()
        return answers

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def oracle() -> Iterator[Callable[[str, str], Oracle]]:
    """``oracle("evm", "ethers")``: the script ``evm_oracle.js``, if its package is installed; else a printed skip."""
    started: list[Oracle] = []

    def start(name: str, package: str) -> Oracle:
        modules = Path(os.environ.get("CHAINWATCH_TOOLS", ROOT / ".tools")) / "node_modules"
        if shutil.which("node") is None or not (modules / package).exists():
            pytest.skip(f"node with {package} is not installed in {modules}")
        started.append(Oracle(Path(__file__).parent / f"{name}_oracle.js", modules))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def messages() -> Callable[[int], list[str]]:
    """Random texts: empty, one byte, ASCII, other scripts, line breaks, 10 kB."""

    def build(count: int = COUNT) -> list[str]:
        chance = random.Random(20261121)
        alphabets = (
            "abcdefghijklmnopqrstuvwxyz ABC 0123456789 .,:/?-_",
            "äöüßéèñøåçžłđ ЖЩЫЭЮЯ αβγδ עברית عربى 漢字かな 한국어",
            "🚀🎟👩‍👩‍👧‍👦é\u200b\u202e\ufeff\u0301 ",
            "line\none\r\ntwo\ttab ",
        )
        out = ["", "a", "\n", "é", "🎟", "\ufeff", "Access event summit-24 at 1732060800000", "x" * 10_240, "ü" * 5_120]
        while len(out) < count:
            alphabet = chance.choice(alphabets)
            size = chance.choice((1, 2, 31, 32, 33, 64, chance.randrange(300), chance.randrange(300)))
            out.append("".join(chance.choice(alphabet) for _ in range(size)))
        return out[:count]

    return build


def toml(value: Any) -> str:
    """Write a value of a configuration."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


Check = Callable[..., Awaitable[tuple[int, list[str]]]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """``check(spec, key=value)``: ``chainwatch check`` on that chain alone; its exit code and the chain's lines."""

    async def run(spec: ChainSpec, **changes: Any) -> tuple[int, list[str]]:
        chain_id: int | str = int(spec.chain_id) if spec.family == "evm" else spec.chain_id
        section = {"adapter": spec.adapter, "chain_id": chain_id, "endpoints": spec.endpoints, "receive": spec.receive}
        lines = [f"{key} = {toml(value)}" for key, value in {**section, **spec.options, **changes}.items()]
        file = tmp_path / "chainwatch.toml"
        file.write_text("\n".join([f"[chains.{spec.code}]", *lines, ""]))
        file.chmod(0o600)
        code, out, err = await asyncio.to_thread(command, tmp_path, "check", "--config", str(file))
        return code, [line for line in (out + err).splitlines() if spec.code in line]

    return run
