"""Every snippet of ``docs/verifying.md`` for Bitcoin wallets runs as it stands, and says yes."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from chainwatch.testing.wallets import BitcoinWallet

TEXT = (Path(__file__).parents[2] / "docs" / "verifying.md").read_text("utf-8")
COMPOSED = "Zoë"
TREZOR, TAPROOT = BitcoinWallet("docs"), BitcoinWallet("docs", "p2tr")

NAMES: dict[str, Any] = {
    # Source: bitcoinjs-message, test/fixtures.json
    "dogecoin_signature": "H6k+dZwJ8oOei3PCSpdj603fDvhlhQ+sqaFNIDvo/bI+Xh6zyIKGzZpyud6YhZ1a5mcrwMVtTWL+VXq/hC5Zj7s=",
    "taproot_address": TAPROOT.address,
    "ecdsa_signature": TAPROOT.sign_message("Access event summit-24"),
}


def snippets(heading: str) -> list[str]:
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, heading
    return re.findall(r"^```python\n(.*?)^```", section.group(1), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("heading", "names", "warned"),
    [
        ("Electrum", {}, set()),
        ("Sparrow", {}, set()),
        ("UniSat and Xverse", {"message": "Access event summit-24"}, {"lenient_p2sh"}),
        (
            "Trezor",
            {
                "address": TREZOR.address,
                "message": unicodedata.normalize("NFD", COMPOSED),
                "signature": TREZOR.sign_message(COMPOSED),
            },
            {"nfc"},
        ),
    ],
    ids=["Electrum", "Sparrow", "UniSat and Xverse", "Trezor"],
)
def test_each_snippet_says_yes(heading: str, names: dict[str, Any], warned: set[str]) -> None:
    found = snippets(heading)
    assert found
    seen: set[str] = set()
    for snippet in found:
        space = NAMES | names
        exec(compile(snippet, heading, "exec"), space)
        assert space["result"].ok, (snippet, space["result"])
        seen |= set(space["result"].warnings) - {"high_s"}
    assert seen == warned
