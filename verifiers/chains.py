"""The names by which callers speak of a chain: our codes, plain names and CAIP-2 references."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chain:
    """What a caller's chain name fixes: a family, perhaps the chain within it, perhaps its network.

    ``networks`` are the address networks it allows; empty: any (``BTC``: the network of an address is its own).
    ``reference`` is the CAIP-2 reference of an EVM chain.
    """

    family: str
    code: str | None = None
    networks: tuple[str, ...] = ()
    reference: str = ""


_NAMES: dict[str, Chain] = {
    "BTC": Chain("bitcoin", "BTC"),
    "LTC": Chain("bitcoin", "LTC"),
    "DOGE": Chain("bitcoin", "DOGE"),
    "DASH": Chain("bitcoin", "DASH"),
    "BCH": Chain("bitcoin", "BCH"),
    "GRS": Chain("bitcoin", "GRS"),
    "ETH": Chain("evm", "ETH", reference="1"),
    "MATIC": Chain("evm", "MATIC", reference="137"),
    "BNB": Chain("evm", "BNB", reference="56"),
    "EVM": Chain("evm"),
    "SOL": Chain("solana", "SOL"),
    "HIVE": Chain("hive", "HIVE"),
    "XMR": Chain("monero", "XMR"),
    "TRX": Chain("tron", "TRX"),
    "ADA": Chain("cardano", "ADA"),
}
_ALIASES = {
    "POL": "MATIC",
    "POLYGON": "MATIC",
    "HBD": "HIVE",
    "BITCOIN": "BTC",
    "LITECOIN": "LTC",
    "DOGECOIN": "DOGE",
    "BITCOINCASH": "BCH",
    "GROESTLCOIN": "GRS",
    "ETHEREUM": "ETH",
    "EIP155": "EVM",
    "SOLANA": "SOL",
    "MONERO": "XMR",
    "TRON": "TRX",
    "CARDANO": "ADA",
}
_EVM_CODES = {chain.reference: chain.code for chain in _NAMES.values() if chain.reference}

# CAIP-2 bip122 references: the first 32 hex digits of the genesis block's hash (for BCH, of its fork block).
_BIP122 = {
    "000000000019d6689c085ae165831e93": ("BTC", ("main",)),
    "000000000933ea01ad0ee984209779ba": ("BTC", ("test",)),
    "00000000da84f2bafbbc53dee25a72ae": ("BTC", ("test",)),  # testnet 4
    "00000008819873e925422c1ff0f99f7c": ("BTC", ("test",)),  # signet, which shares testnet's prefixes
    "0f9188f13cb7b2c71f2a335e3a4fc328": ("BTC", ("test", "regtest")),  # base58 of regtest is testnet's
    "12a765e31ffd4059bada1e25190f6e98": ("LTC", ("main",)),
    "1a91e3dace36e2be3bf030a65679fe82": ("DOGE", ("main",)),
    "00000ffd590b1485b3caadc19b22e637": ("DASH", ("main",)),
    "000000000000000000651ef99cb9fcbe": ("BCH", ("main",)),
}
_REFERENCE = re.compile(r"[-_a-zA-Z0-9]{1,32}", re.ASCII)
_CHAIN_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_MONERO = {"main": "main", "mainnet": "main", "test": "test", "testnet": "test", "stage": "stage", "stagenet": "stage"}


def parse_chain(name: object) -> Chain | None:
    """The chain that ``name`` means: a code (``BTC``), a plain name (``bitcoin``) or CAIP-2 (``eip155:137``)."""
    if not isinstance(name, str) or not 1 <= len(name) <= 64 or not name.isascii():
        return None
    namespace, colon, reference = name.partition(":")
    if not colon:
        upper = name.upper()
        return _NAMES.get(_ALIASES.get(upper, upper))
    if not _REFERENCE.fullmatch(reference):
        return None
    return _caip2(namespace, reference)


def _caip2(namespace: str, reference: str) -> Chain | None:
    if namespace == "eip155":
        if not _CHAIN_ID.fullmatch(reference):
            return None
        return Chain("evm", _EVM_CODES.get(reference, f"eip155:{reference}"), reference=reference)
    if namespace == "bip122":
        known = _BIP122.get(reference)
        return Chain("bitcoin", known[0], known[1]) if known else None
    if namespace == "monero":
        network = _MONERO.get(reference)
        return Chain("monero", "XMR", (network,)) if network else None
    # The addresses of these carry no network (Solana, Hive), or their own prefix tells it (Tron, Cardano).
    if namespace in ("solana", "hive", "tron"):
        return _NAMES[_ALIASES.get(namespace.upper(), namespace.upper())]
    if namespace == "cip34":
        return Chain("cardano", "ADA", ("main" if reference.startswith("1-") else "test",))
    return None
