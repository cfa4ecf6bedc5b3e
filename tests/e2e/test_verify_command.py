"""``chainwatch verify`` as an operator or another program runs it: verdicts, reasons, exit codes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chainwatch.testing.rows import signed_rows
from chainwatch.testing.wallets import EvmWallet, HiveWallet
from chainwatch.verifiers import SCHEMES
from chainwatch.verifiers.jsonl import MAX_ROW

TEXT = "Access event summit-24 at 1732060800000"
WALLET = EvmWallet("command")
KEYS = {"id", "valid", "status", "scheme", "reason"}
VECTORS = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).parents[3] / "shared")) / "vectors"
FAMILIES = sorted(VECTORS.glob("*.json"))
# Contract wallets on mainnet, published without what the chain answered: unavailable, and neither valid nor invalid.
UNRECORDED = {"eip1271-argent", "eip1271-loopring"}


def run(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output and standard error; no node is configured."""
    command = [sys.executable, "-m", "chainwatch", "verify", *arguments]
    with TemporaryDirectory() as empty:
        done = subprocess.run(command, input=given, capture_output=True, timeout=240, check=False, cwd=empty)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def lines(*arguments: str, given: bytes = b"") -> list[dict[str, Any]]:
    """The answers to the lines, which must all have been answered."""
    code, out, err = run(*arguments, given=given)
    assert (code, err) == (0, "")
    answers = [json.loads(line) for line in out.splitlines()]
    assert all(set(answer) == KEYS for answer in answers)
    return answers


def test_a_valid_signature_prints_its_scheme_and_exits_with_0() -> None:
    asked = ("--chain", "ETH", "--address", WALLET.address, "--message", TEXT)
    assert run(*asked, "--signature", WALLET.sign_message(TEXT)) == (0, "valid: eip191\n", "")
    code, out, _ = run(*asked, "--signature", WALLET.sign_message(TEXT), "--json")
    assert (code, json.loads(out)) == (0, {"valid": True, "status": "valid", "scheme": "eip191", "reason": "ok"})


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({"--message": "another text"}, "invalid: wrong_signer"),
        ({"--signature": "0x12"}, "malformed: malformed_signature"),
        ({"--address": WALLET.address.lower().replace("0x", "0X")}, "malformed: malformed_address"),
        ({"--chain": "BTC"}, "invalid: wrong_network"),
        ({"--chain": "no such chain"}, "unsupported: unknown_chain"),
        ({"--signature": "0x"}, "unsupported: needs_chain_state"),
    ],
)
def test_anything_else_prints_the_reason_and_exits_with_1(changes: dict[str, str], printed: str) -> None:
    asked = {"--chain": "ETH", "--address": WALLET.address, "--message": TEXT, "--signature": WALLET.sign_message(TEXT)}
    code, out, err = run(*(part for option in (asked | changes).items() for part in option))
    assert (code, out, err) == (1, printed + "\n", "")


def test_the_chain_is_found_from_the_address_when_none_is_named() -> None:
    assert run("--address", WALLET.address, "--message", "", "--signature", WALLET.sign_message(""))[0] == 0


ALICE = HiveWallet("alice")
SAFE = "0x" + "5a" * 20


class Node(BaseHTTPRequestHandler):
    """A node that knows alice, and a contract at ``SAFE`` that says yes to everything."""

    def do_POST(self) -> None:
        """Answer one question."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        code = {"eth_getCode": "0x60" if str(asked["params"][0:1]).lower() == str([SAFE]) else "0x"}
        answers = {"eth_chainId": "0x1", "eth_call": "0x1626ba7e" + "00" * 28} | code
        answers |= {"condenser_api.get_accounts": [ALICE.account | {"owner": EMPTY, "active": EMPTY, "memo_key": ""}]}
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers[asked["method"]]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


EMPTY = {"weight_threshold": 1, "account_auths": [], "key_auths": []}


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def configured(folder: Path, url: str) -> tuple[str, str]:
    file = folder / "nodes.toml"
    sections = [
        f'[chains.HIVE]\nendpoints = ["{url}"]\nreceive = ["till"]',
        f'[chains.ETH]\nendpoints = ["{url}"]\nreceive = ["{WALLET.address}"]',
    ]
    file.write_text("\n".join(sections))
    return "--config", str(file)


@pytest.mark.network
@pytest.mark.parametrize(
    ("arguments", "printed", "code"),
    [
        (("--address", "alice", "--signature", ALICE.sign_message(TEXT)), "valid: hive-buffer", 0),
        (
            ("--address", "alice", "--signature", HiveWallet("bob").sign_message(TEXT)),
            "invalid: authority_not_met",
            1,
        ),
        (("--chain", "ETH", "--address", SAFE, "--signature", "0x"), "valid: eip191", 0),
        (("--chain", "eip155:1", "--address", SAFE, "--signature", "0x" + "11" * 65), "valid: eip191", 0),
        (("--chain", "ETH", "--address", WALLET.address, "--signature", "0x"), "invalid: wrong_signer", 1),
        (("--chain", "eip155:137", "--address", SAFE, "--signature", "0x"), "unsupported: needs_chain_state", 1),
        (("--address", SAFE, "--signature", "0x"), "unsupported: needs_chain_state", 1),
    ],
)
def test_what_only_the_chain_knows_its_configured_node_is_asked(
    arguments: tuple[str, ...], printed: str, code: int, node: str, tmp_path: Path
) -> None:
    assert run(*configured(tmp_path, node), "--message", TEXT, *arguments) == (code, printed + "\n", "")


@pytest.mark.network
def test_a_node_that_does_not_answer_is_unavailable_and_exits_with_3(tmp_path: Path) -> None:
    dead = configured(tmp_path, "http://127.0.0.1:9")
    asked = ("--address", "alice", "--message", TEXT, "--signature", ALICE.sign_message(TEXT))
    assert run(*dead, *asked) == (3, "unavailable: node_unreachable\n", "")
    assert run(*dead, "--address", WALLET.address, "--message", TEXT, "--signature", WALLET.sign_message(TEXT))[0] == 0


def test_what_cannot_be_asked_exits_with_2(tmp_path: Path) -> None:
    for arguments in (
        (),
        ("--address", WALLET.address),
        ("--jsonl", str(tmp_path / "none")),
        ("--jsonl", str(tmp_path)),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("chainwatch: ")
        assert err.count("\n") == 1


def test_every_line_is_answered_even_one_that_is_no_row(tmp_path: Path) -> None:
    rows = signed_rows()
    good = json.dumps(rows[0]).encode()
    bad = [
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id": 7}',
        b"9" * 5000,
        b"x" * (MAX_ROW + 9),
    ]
    given = b"\n".join([good, b"", b"   ", *bad, good])  # the last without an end of line
    answers = lines("--jsonl", "-", given=given)
    assert [answer["valid"] for answer in answers] == [True, *[False] * len(bad), True]
    assert {answer["status"] for answer in answers[1:-1]} == {"malformed"}
    assert [answer["id"] for answer in answers] == [rows[0]["id"], *[None] * 6, 7, None, None, rows[0]["id"]]
    file = tmp_path / "rows.jsonl"
    file.write_bytes(given)
    assert lines("--jsonl", str(file)) == answers
    assert lines("--jsonl", "-") == []


def test_an_answer_follows_its_line_at_once() -> None:
    """Another program may hold the pipe open and ask one signature after the other."""
    process = subprocess.Popen(
        [sys.executable, "-m", "chainwatch", "verify", "--jsonl", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for row in signed_rows()[:3]:
            process.stdin.write(json.dumps(row).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == row["id"]
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_row_of_every_scheme_is_answered_by_its_scheme() -> None:
    rows = signed_rows()
    answers = lines("--jsonl", "-", given="\n".join(map(json.dumps, rows)).encode())
    assert [(answer["id"], answer["valid"], answer["scheme"]) for answer in answers] == [
        (row["id"], True, row["scheme"]) for row in rows
    ]


@pytest.mark.skipif(not FAMILIES, reason=f"no shared vectors in {VECTORS} (set CHAINWATCH_SHARED)")
@pytest.mark.parametrize("file", FAMILIES, ids=lambda path: path.stem)
def test_every_wallet_row_of_every_shared_file_gets_its_verdict(file: Path) -> None:
    rows = [
        row
        for row in json.loads(file.read_text("utf-8"))
        if row.get("address") is not None and row.get("signature") is not None and row["valid"] is not None
    ]
    rows = [row for row in rows if row["scheme"] in SCHEMES]
    if not rows:
        pytest.skip("no wallet rows: cases of a bare curve, or of access, are tests of the library")
    answers = lines("--jsonl", "-", given="\n".join(map(json.dumps, rows)).encode())
    assert [answer["id"] for answer in answers] == [row["id"] for row in rows]
    pairs = [(row, answer) for row, answer in zip(rows, answers, strict=True) if row["id"] not in UNRECORDED]
    assert [(row["id"], answer) for row, answer in pairs if answer["valid"] is not row["valid"]] == []
    unavailable = {answer["id"] for answer in answers if answer["status"] == "unavailable"}
    assert UNRECORDED & {row["id"] for row in rows} <= unavailable
