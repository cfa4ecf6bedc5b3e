"""The unit file: hardened, understood by systemd, and something the program can live with."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd/chainwatch.service"

NO_WRITABLE_CODE = """
import ctypes, mmap, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("the kernel did not refuse")
import aiohttp, alembic, cryptography.hazmat.primitives.ciphers, eth_account, jwt, nacl.signing, orjson, psycopg
import solders.pubkey, sqlalchemy, web3, Cryptodome.Hash.keccak, coincurve
key = coincurve.PrivateKey()
signature = key.sign_recoverable(b"m" * 32, hasher=None)
assert coincurve.PublicKey.from_signature_and_message(signature, b"m" * 32, hasher=None) == key.public_key
signer = nacl.signing.SigningKey.generate()
signer.verify_key.verify(signer.sign(b"m"))
"""


def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    return found


def unit() -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read(UNIT)
    return parsed


def test_the_exposure_is_at_most_one_and_a_half() -> None:
    command = [analyze(), "security", "--offline=true", "--threshold=15", "--no-pager", str(UNIT)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    copy = tmp_path / "chainwatch.service"
    text = UNIT.read_text("utf-8").replace("/opt/chainwatch/venv/bin/chainwatch", shutil.which("true") or "/bin/true")
    copy.write_text(text)
    ran = subprocess.run(
        [analyze(), "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=240
    )
    assert "chainwatch.service" not in ran.stderr, ran.stderr


def test_it_is_the_service_that_the_program_speaks_to() -> None:
    service = unit()["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["ExecStart"].split()[:2] == ["/opt/chainwatch/venv/bin/chainwatch", "run"]
    assert service["RestartPreventExitStatus"] == "2"
    assert service["LoadCredential"].startswith("signing-key:")
    assert (service["DynamicUser"], service["StateDirectory"], service["StateDirectoryMode"]) == (
        "yes",
        "chainwatch",
        "0700",
    )


def test_the_libraries_live_without_writable_code() -> None:
    """MemoryDenyWriteExecute= would otherwise kill the daemon at its first signature, on the operator's machine."""
    assert unit()["Service"]["MemoryDenyWriteExecute"] == "yes"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NO_WRITABLE_CODE],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    if ran.returncode == 77:
        pytest.skip("this kernel cannot refuse writable code by prctl (6.3 and later)")
    assert ran.returncode == 0, ran.stderr
