"""The configuration as it is promised: the whole example, every key from the environment too, refusals with a line."""

import asyncio
import random
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chainwatch.config.settings import Settings
from chainwatch.devnet.network import Devnet
from chainwatch.errors import Misconfigured
from chainwatch.terminal import settings_of
from chainwatch.testing.clock import FakeClock
from chainwatch.testing.process import Daemon, command

pytestmark = pytest.mark.network

EXAMPLE = """\
[database]
url = "sqlite:///{folder}/chainwatch.db"      # or postgresql://…
[http]
listen = "127.0.0.1:8080"
public_url = "https://tickets.example"
[tickets]
signing_key_file = "{folder}/signing-key"
commission_bps = 2000
payout_delay_days = 7
hold_minutes = 15
seen_hold_minutes = 120
[access]
domain = "tickets.example"
window_seconds = 300
classic_messages = true
[chains.HIVE]
adapter = "hive"
endpoints = ["https://api.hive.blog", "https://api.deathwing.me"]
receive = ["dlux-tickets"]
finality = "irreversible"
start = "tip"                                             # or a height: where a first run begins
memo_key_file = "{folder}/memo-key"                       # optional: reads encrypted memos
[chains.BTC]
adapter = "bitcoin"                                       # or "esplora"
endpoints = ["http://user@127.0.0.1:8332"]
xpub = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"
receive = ["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]
finality = [ {{below = "0.01", depth = 2}}, {{depth = 6}} ]
payout_depth = 6
[chains.ETH]
adapter = "evm"
chain_id = 1
endpoints = ["https://node.example"]
receive = ["0x52908400098527886E0F7030069857D2E4169EE7"]
finality = "finalized"
quorum = {{above = "1.0", nodes = 2}}
traces = false
tokens = {{ USDC = {{contract = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", decimals = 6}} }}
[chains.XMR]
adapter = "monero"
endpoints = ["http://127.0.0.1:18083"]                    # monero-wallet-rpc on a view-only wallet
login_file = "{folder}/login"
"""
SECRETS = {"memo-key": "5JdeC9P7Pbd1uGdFVEsJ41EkEnADbbHGq6p1BwFxm6txNBsQnsw", "login": "watcher:Xh3kd8sJ2ks9"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    for name, text in SECRETS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def load(folder: Path, text: str) -> Settings:
    file = folder / "chainwatch.toml"
    file.write_text(text)
    return settings_of(file)


def test_the_example_is_taken_as_it_stands(folder: Path) -> None:
    got = load(folder, EXAMPLE.format(folder=folder))
    assert list(got.chains) == ["HIVE", "BTC", "ETH", "XMR"]
    assert [(a.code, a.decimals) for a in got.chains["ETH"].spec.assets] == [("ETH", 18), ("ETH:USDC", 6)]
    assert got.access.domain == "tickets.example"
    assert set(got.secrets) >= set(SECRETS.values())
    other = EXAMPLE.format(folder=folder).replace('"bitcoin"   ', '"esplora"   ').replace('start = "tip"', "start = 9")
    assert load(folder, other).chains["HIVE"].spec.start == 9


def keys(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in table.items():
        is_section = isinstance(value, dict) and len(path) < (2 if path[:1] == ("chains",) or key == "chains" else 1)
        found += keys(value, (*path, key)) if is_section else [((*path, key), value)]
    return found


def as_text(value: Any) -> str:
    """A value as it is written in TOML, and so in a variable."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(as_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {as_text(v)}" for k, v in value.items()) + "}"
    return str(value) if isinstance(value, int) else f'"{value}"'


def test_every_key_may_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EXAMPLE.format(folder=folder)
    wanted = load(folder, text)
    written = keys(tomllib.loads(text))
    assert (("chains", "ETH", "quorum"), {"above": "1.0", "nodes": 2}) in written
    for path, value in written:
        monkeypatch.setenv("__".join(("CHAINWATCH", *(p.upper() for p in path))), as_text(value))
    got = load(folder, "")
    assert (got.database, got.http, got.tickets, got.access) == (
        wanted.database, wanted.http, wanted.tickets, wanted.access)  # fmt: skip
    for code, chain in wanted.chains.items():
        assert got.chains[code].spec == chain.spec
        assert (got.chains[code].finality, got.chains[code].payout_finality) == (chain.finality, chain.payout_finality)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("window_seconds", "windowseconds", r"line 14: \[access\] unknown key 'windowseconds'"),
        ("[access]", "[acess]", r"line 12: unknown section 'acess'"),
        ('"zpub6r', '"zprv6r', r"line 26: \[chains.BTC\] 'xpub' holds an extended private key"),
        ("http://user@", "http://user:password@", r"line 25: \[chains.BTC\] 'endpoints' has a URL with a default"),
        ("nodes = 2", "nodes = 2, x = 1", r"line 36: \[chains.ETH\] .*`x`"),
        ("traces = false", "traces = 3", r"line 37: \[chains.ETH\] "),
        ('"finalized"', '"soon"', r"line 35: \[chains.ETH\] 'finality' is not right"),
        ("payout_depth = 6", "payout_depth = 1", r"line 29: \[chains.BTC\] 'payout_depth' is weaker"),
        ('start = "tip"', 'start = "yesterday"', r"line 21: \[chains.HIVE\] 'start' is"),
        ("below =", "above =", r"line 28: \[chains.BTC\] 'finality' is not right"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(folder: Path, right: str, wrong: str, said: str) -> None:
    text = EXAMPLE.format(folder=folder)
    assert right in text
    with pytest.raises(Misconfigured, match=said):
        load(folder, text.replace(right, wrong, 1))


def test_a_daemon_with_a_wrong_configuration_does_not_start(folder: Path) -> None:
    (folder / "chainwatch.toml").write_text(EXAMPLE.format(folder=folder).replace("classic_messages", "classic"))
    code, _, err = command(folder, "run", "--config", str(folder / "chainwatch.toml"))
    assert code == 2
    assert "chainwatch.toml line 15: [access] unknown key 'classic'" in err


async def test_a_node_of_another_network_than_the_configuration_says_ends_the_start(folder: Path) -> None:
    """It ran on with that chain standing still, and nobody who looked only at the start knew."""
    network = Devnet(clock=FakeClock(), rng=random.Random(1), chains=("MATIC",))
    sections = await network.start()
    try:
        (endpoint,) = sections["MATIC"]["endpoints"]
        text = f'[chains.ETH]\nchain_id = 1\nendpoints = ["{endpoint}"]\nreceive = ["0x{"0" * 38}AA"]\n'
        (folder / "chainwatch.toml").write_text(text)
        with Daemon(folder, "--config", str(folder / "chainwatch.toml")) as daemon:
            assert await asyncio.to_thread(daemon.process.wait, 60) == 2
            said = r"chainwatch.toml line 2: \[chains.ETH\] .* is a node of chain id 137, not 1"
            assert re.search(said, daemon.output())
    finally:
        await network.stop()
