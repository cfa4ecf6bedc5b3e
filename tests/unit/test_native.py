"""The C functions called directly, held against the libraries' public interfaces."""

import hashlib
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import coincurve
import pytest

from chainwatch.verifiers import native
from chainwatch.verifiers.curves import SECP256K1_N

CHANCE = random.Random(4)
LENGTHS = (0, 1, 31, 32, 64, 135, 136, 137, 271, 272, 10_240)
"""Bytes; Keccak-256 takes 136 at a time."""


def test_keccak_is_the_same_by_either_library() -> None:
    keccak256 = native.keccak_function()
    assert keccak256 is not native.slow_keccak, "safe-pysha3 is not installed, or is not what it was"
    for length in LENGTHS:
        data = CHANCE.randbytes(length)
        for given in (data, bytearray(data), memoryview(data)):
            assert keccak256(given) == native.slow_keccak(data)


def test_recovery_is_the_library_s_own_for_good_and_bad_signatures() -> None:
    recover = native.recover_function()
    assert recover is not native.public_recover, "the fast way is not taken with the bindings installed here"
    key = coincurve.PrivateKey(CHANCE.randbytes(32))
    for _ in range(300):
        digest = CHANCE.randbytes(32)
        signature = key.sign_recoverable(digest, hasher=None)
        number = CHANCE.randrange(5)
        compact = bytearray(signature[:64])
        if number == 1:
            compact[CHANCE.randrange(64)] ^= 1 << CHANCE.randrange(8)
        elif number == 2:
            compact = bytearray(CHANCE.choice((bytes(64), b"\xff" * 64, compact[32:] + bytes(32))))
        elif number == 3:
            compact[32:] = (SECP256K1_N - int.from_bytes(compact[32:], "big")).to_bytes(32, "big")
        for recovery_id in range(4):
            for compressed in (True, False):
                answer = recover(bytes(compact), recovery_id, digest, compressed)
                assert answer == native.public_recover(bytes(compact), recovery_id, digest, compressed)
                if number == 0 and recovery_id == signature[64]:
                    assert answer == key.public_key.format(compressed)


@pytest.mark.parametrize(
    ("compact", "recovery_id", "digest"),
    [
        (b"", 0, bytes(32)),
        (bytes(63), 0, bytes(32)),
        (bytes(65), 0, bytes(32)),
        (b"\x01" * 64, 4, bytes(32)),
        (b"\x01" * 64, -1, bytes(32)),
        (b"\x01" * 64, 0, b""),
        (b"\x01" * 64, 0, bytes(31)),
        (b"\x01" * 64, 0, bytes(33)),
    ],
)
def test_nothing_of_another_size_reaches_the_library(compact: bytes, recovery_id: int, digest: bytes) -> None:
    """libsecp256k1 aborts the process for a recovery id of 4, and reads beyond what is too short."""
    assert native.recover_function()(compact, recovery_id, digest, True) is None


def test_threads_do_not_share_what_they_compute_in() -> None:
    """The libraries let other threads run while they compute."""
    keccak256, recover = native.keccak_function(), native.recover_function()
    key = coincurve.PrivateKey(b"\x05" * 32)
    cases = []
    for _ in range(200):
        data = CHANCE.randbytes(5_000)
        signature = key.sign_recoverable(data[:32], hasher=None)
        cases.append((data, native.slow_keccak(data), signature))

    def work(case: tuple[bytes, bytes, bytes]) -> bool:
        data, digest, signature = case
        return all(
            keccak256(data) == digest
            and recover(signature[:64], signature[64], data[:32], True) == key.public_key.format()
            for _ in range(10)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, cases))


@pytest.mark.parametrize(
    "module",
    [None, SimpleNamespace(), SimpleNamespace(keccak_256=hashlib.sha3_256), SimpleNamespace(keccak_256=lambda _: 1)],
    ids=["none", "empty", "sha3", "other"],
)
def test_another_module_of_that_name_is_not_used(
    module: SimpleNamespace | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keccak-256 is not what became SHA3-256: its padding is another."""
    monkeypatch.setitem(sys.modules, "sha3", module)
    assert native.keccak_function() is native.slow_keccak


def test_other_bindings_than_those_known_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version may rename what is behind the public interface, or compute something else."""
    monkeypatch.setitem(sys.modules, "coincurve._libsecp256k1", SimpleNamespace(ffi=None, lib=None))
    assert native.recover_function() is native.public_recover
    monkeypatch.setattr(native, "_direct_recover", lambda: lambda *_: bytes(33))
    assert native.recover_function() is native.public_recover
