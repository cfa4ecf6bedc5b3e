"""SIGHUP: a raised depth counts at once, a lowered one waits for a restart, nonsense changes nothing."""

import signal
import time
from pathlib import Path

import pytest

from chainwatch.testing.process import Daemon, get

pytestmark = pytest.mark.network

SECTION = """
[chains.ETH]
endpoints = ["http://127.0.0.1:1"]
receive = ["0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"]
finality = {depth}
"""


def says(daemon: Daemon, words: str) -> None:
    end = time.monotonic() + 60
    while words not in daemon.output():
        assert time.monotonic() < end, daemon.output()[-2000:]
        time.sleep(0.05)


def test_a_changed_configuration_is_taken_as_far_as_it_is_safe(tmp_path: Path) -> None:
    config = tmp_path / "chainwatch.toml"
    config.write_text(SECTION.format(depth=10))
    with Daemon(tmp_path, "--config", str(config)) as daemon:
        url = daemon.url()
        config.write_text(SECTION.format(depth=30))
        daemon.process.send_signal(signal.SIGHUP)
        says(daemon, "the configuration was reloaded")
        config.write_text(SECTION.format(depth=5))
        daemon.process.send_signal(signal.SIGHUP)
        says(daemon, "waits for a restart")
        assert "chainwatch_config_reload_success 1.0" in get(url + "/metrics")[1].decode()
        config.write_text(SECTION.format(depth='"nonsense"'))
        daemon.process.send_signal(signal.SIGHUP)
        says(daemon, "was not reloaded")
        assert "chainwatch_config_reload_success 0.0" in get(url + "/metrics")[1].decode()
        assert daemon.interrupt() == 0
