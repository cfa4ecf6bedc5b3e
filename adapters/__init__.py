"""The registry of chains' adapters: a name to the module that speaks the chain's protocol.

A new chain of a known protocol is data (``config/networks.toml``); a new protocol is one module
here and one line below.  Modules are imported when first used: web3 alone costs a second.
"""

import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from chainwatch.errors import Misconfigured
from chainwatch.model import ChainSpec, Transfer

if TYPE_CHECKING:
    from chainwatch.adapters.base import AccountSource, BlockSource, Services

REGISTRY: dict[str, str] = {
    "bitcoin": "chainwatch.adapters.bitcoin",
    "esplora": "chainwatch.adapters.esplora",
    "hive": "chainwatch.adapters.hive",
    "evm": "chainwatch.adapters.evm",
    "solana": "chainwatch.adapters.solana",
    "monero": "chainwatch.adapters.monero",
}


def module(name: str) -> Any:
    """Import the adapter ``name``; ``Misconfigured`` when there is none of that name."""
    if name not in REGISTRY:
        raise Misconfigured(f"no adapter {name!r}; there are {', '.join(sorted(REGISTRY))}")
    return importlib.import_module(REGISTRY[name])


def open_source(spec: ChainSpec, services: "Services") -> "BlockSource | AccountSource":
    """Build the source of a configured chain.  No I/O happens before its ``open``."""
    source: BlockSource | AccountSource = module(spec.adapter).open_source(spec, services)
    return source


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read recorded chain data; ``Rejected`` for what is not data of that chain."""
    transfers: Iterator[Transfer] = module(spec.adapter).decode(documents, spec)
    return transfers
