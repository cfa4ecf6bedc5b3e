"""How an access text names chains, wallets and times, and how it is called what is wrong with one."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from chainwatch.errors import Rejected
from chainwatch.verifiers.addresses import Wallet, wallet_for
from chainwatch.verifiers.chains import parse_chain


class AccessReason(StrEnum):
    """Why a text does not open the door; ``ok`` when it does (as far as a text can)."""

    OK = "ok"
    MALFORMED = "malformed"
    CLASSIC_REFUSED = "classic_refused"
    DOMAIN = "domain"
    URI = "uri"
    WALLET = "wallet"
    CHAIN_ID = "chain_id"
    EVENT = "event"
    TIMESTAMP_MISMATCH = "timestamp_mismatch"
    TTL = "ttl"
    FUTURE = "future"
    EXPIRED = "expired"
    # answers of what comes after the text
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_NONCE = "unknown_nonce"
    REPLAYED = "replayed"


# Word of the first line and name in the one-line form, by chain code or family.
WORDS: dict[str, tuple[str, str]] = {
    "BTC": ("Bitcoin", "bitcoin"),
    "LTC": ("Litecoin", "litecoin"),
    "DOGE": ("Dogecoin", "dogecoin"),
    "DASH": ("Dash", "dash"),
    "BCH": ("Bitcoin Cash", "bitcoincash"),
    "GRS": ("Groestlcoin", "groestlcoin"),
    "evm": ("Ethereum", "eip155"),
    "solana": ("Solana", "solana"),
    "hive": ("Hive", "hive"),
    "monero": ("Monero", "monero"),
    "tron": ("Tron", "tron"),
    "cardano": ("Cardano", "cardano"),
}
NAMES = dict(WORDS.values())
WORD_OF = {name: word for word, name in WORDS.values()}


def read_wallet(chain: str, address: str) -> Wallet | None:
    """The address as the chain (code, name or CAIP-2) reads it; None when it does not."""
    parsed = parse_chain(chain)
    return wallet_for(address, parsed) if parsed is not None else None


def words_of(wallet: Wallet) -> tuple[str, str]:
    """Word of the first line, name in the one-line form."""
    return WORDS[wallet.chain or ""] if wallet.chain in WORDS else WORDS[wallet.family]


def chain_id_of(wallet: Wallet) -> str:
    """EIP-155 number on EVM (Ethereum's where none was given), the network's name elsewhere."""
    if wallet.family == "evm":
        return wallet.network or "1"
    return {"main": "mainnet", "test": "testnet", "stage": "stagenet"}.get(wallet.network, wallet.network)


def time_text(ms: int) -> str:
    """RFC 3339 with three decimals and Z.  ``Rejected`` outside the years 1 to 9999."""
    return f"{_second_text(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(4096)  # a text is written several times before it is believed
def _second_text(second: int) -> str:
    try:
        moment = datetime.fromtimestamp(second, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Rejected(AccessReason.MALFORMED, "not a time") from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def time_ms(text: str) -> int | None:
    """Unix milliseconds of ``time_text``; None when it is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000
