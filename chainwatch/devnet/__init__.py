"""Simulated nodes that speak each chain's real RPC on loopback.

A new chain is one file here with ``make(spec, clock=, rng=, journal=) -> SimNode`` and one line below.
"""

NODES: dict[str, str] = {
    "bitcoin": "chainwatch.devnet.bitcoin",
    "esplora": "chainwatch.devnet.bitcoin",
    "hive": "chainwatch.devnet.hive",
    "evm": "chainwatch.devnet.evm",
    "solana": "chainwatch.devnet.solana",
    "monero": "chainwatch.devnet.monero",
}
"""Adapter name to the module that simulates its node."""
