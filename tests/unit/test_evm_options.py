"""The EVM adapter's own keys that need no node."""

import random

import msgspec
import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.evm import EvmSource
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.errors import Misconfigured

# m/44'/60'/0' of the mnemonic that every development node starts with ("test test … junk"), and its first accounts
ACCOUNT = (
    "xpub6Ce9NcJvTk36xtLSrJLZqE7wtgA5deCeYs7rSQtreh4cj6ByPtrg9sD7V2FNFLPnf8heNP3FGkeV9qwfzvZNSd54JoNXVsXFYSYwHsnJxqP"
)
FIRST = ["0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]
ZPUB = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"


def source(**options: object) -> EvmSource:
    services = Services(clock=SystemClock(), random=random.Random(1), observer=SilentObserver())
    configured = msgspec.structs.replace(spec("ETH"), endpoints=("http://127.0.0.1:1",), options=options)
    return EvmSource(configured, services)


async def test_addresses_grow_from_the_account_key() -> None:
    assert await source(xpub=ACCOUNT).addresses(0, 2) == FIRST
    assert await source(xpub=ACCOUNT).addresses(1, 1) == FIRST[1:]


async def test_without_an_account_key_there_are_no_addresses() -> None:
    with pytest.raises(Misconfigured, match="xpub"):
        await source().addresses(0, 1)


@pytest.mark.parametrize("text", ["xpub", ACCOUNT[:-1] + "Q", ZPUB, "ab" * 32])
def test_what_is_no_account_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Misconfigured, match="ETH") as refused:
        source(xpub=text)
    assert len(text) < 10 or text not in str(refused.value)
