"""A registered adapter without recorded data, a contract run, a simulated and a real node is not finished."""

import importlib.util
from pathlib import Path

import pytest

from chainwatch.adapters import REGISTRY
from chainwatch.config import networks
from chainwatch.devnet import NODES

TESTS = Path(__file__).parents[1]

RECORDED = {
    "bitcoin": "unit/test_bitcoin_recorded.py",
    "esplora": "unit/test_bitcoin_recorded.py",
    "evm": "unit/test_evm_recorded.py",
    "hive": "unit/test_hive_recorded.py",
    "monero": "unit/test_monero_recorded.py",
    "solana": "unit/test_solana_recorded.py",
}
CONTRACT = {
    "bitcoin": "contract/test_bitcoin_source.py",
    "esplora": "contract/test_bitcoin_source.py",
    "evm": "contract/evm/test_evm_simulated.py",
    "hive": "contract/test_hive_contract.py",
    "monero": "contract/test_monero_contract.py",
    "solana": "contract/test_solana_contract.py",
}
REAL = {
    "bitcoin": "nodes/test_bitcoin_node.py",  # bcoin, and bitcoind where one is installed
    "evm": "nodes/test_anvil.py",
    "hive": "nodes/test_hive_protocol.py",  # no node to install: its own protocol code reads the simulated one
    "monero": "nodes/test_monerod.py",
    "solana": "nodes/test_surfpool.py",
}
NO_REAL_NODE = {"esplora": "no package of an Esplora server; its blocks are those of the bitcoin adapter"}


@pytest.mark.parametrize("adapter", sorted(REGISTRY))
def test_a_registered_adapter_has_recorded_data_a_contract_run_and_nodes(adapter: str) -> None:
    assert (TESTS / RECORDED[adapter]).is_file(), "no test over recorded data"
    contract = (TESTS / CONTRACT[adapter]).read_text("utf-8")
    assert "CASES" in contract, "the contract suite is not run"
    assert importlib.util.find_spec(NODES[adapter]) is not None, "no simulated node"
    if adapter not in NO_REAL_NODE:
        assert "CASES" in (TESTS / REAL[adapter]).read_text("utf-8") or adapter == "hive", "no real-node run"


def test_every_known_chain_speaks_a_registered_adapter_and_has_its_own_finality() -> None:
    for code, section in networks.known().items():
        assert section["adapter"] in REGISTRY, code
        assert "finality" in section, code
