"""What a log line may say."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.logs import HumanFormatter, JsonFormatter, Redaction, configure, short, under_journald

ADDRESSES = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM",
    "888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPbb3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H",
]


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(message: str, *args: Any, exc: bool = False, **extra: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "chainwatch.watcher", "levelno": logging.WARNING, "levelname": "WARNING"})
    made.msg, made.args, made.created = message, args, 1_760_000_000.123
    made.exc_info = sys.exc_info() if exc else None
    vars(made).update(extra)
    return made


def test_a_json_line_carries_message_and_fields() -> None:
    line = JsonFormatter(Redaction()).format(record("node lags by %d", 7, chain="HIVE", blocks=7, node=None))
    assert msgspec.json.decode(line) == {
        "time": "2025-10-09T08:53:20.123Z",
        "level": "warning",
        "logger": "chainwatch.watcher",
        "message": "node lags by 7",
        "chain": "HIVE",
        "blocks": 7,
        "node": None,
    }


def test_a_terminal_gets_a_line_for_people() -> None:
    line = HumanFormatter(Redaction()).format(record("node lags", chain="HIVE", blocks=7))
    assert line == "08:53:20 warning  watcher    node lags  chain=HIVE blocks=7"


@pytest.mark.parametrize("make", [HumanFormatter, JsonFormatter])
def test_hostile_text_makes_no_line_of_its_own(make: Any) -> None:
    line = make(Redaction()).format(record("memo %s", "x\n12:00:00 info minted\x1b[2J\u202e", memo="a\r\nb\u2028"))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert "\u202e" not in line


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_whole_address_is_shown(address: str) -> None:
    text = Redaction()(f"paid by {address}, thanks")
    assert address not in text
    assert short(address) in text


@pytest.mark.parametrize(
    "secret",
    [
        "5KYZdUEo39z3FPrtuX2QbbwGnNP5zTd7yyr2SC1j299sBCnWjss",
        "0x" + "ab" * 65,
        "ab" * 65,
        "H" + "Ab3+" * 21 + "Ab=",
        "5J" + "xY7" * 28 + "ab",
    ],
    ids=["wif", "0x signature", "hive signature", "base64", "base58"],
)
def test_no_key_and_no_signature_is_shown(secret: str) -> None:
    assert secret not in Redaction()(f"got {secret} from a client")


def test_what_an_operator_needs_is_still_there() -> None:
    txid = "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16"
    for text in (f"tx {txid}", "account dlux-tickets", "http://127.0.0.1:8545 down", "block_api.get_block_range"):
        assert Redaction()(text) == text


def test_url_credentials_and_bearer_tokens_go() -> None:
    text = Redaction()("http://user:pa55@node:8332/x Authorization: Bearer abc:alice api_key=zzz https://u@h/")
    assert text == "http://***@node:8332/x Authorization: Bearer *** api_key= *** https://***@h/"


def test_configured_secrets_go_wherever_they_stand() -> None:
    redaction = Redaction(["k2f9x-secret", "k2f9x-secret-longer", "ab"])
    formatter = JsonFormatter(redaction)
    try:
        raise ValueError("bad login k2f9x-secret-longer")
    except ValueError:
        line = formatter.format(record("k2f9x-secret", exc=True, url="x?key=k2f9x-secret"))
    assert "k2f9x" not in line
    assert "-longer" not in line
    assert "ValueError: bad login ***" in msgspec.json.decode(line)["exception"]
    redaction.add(["later-on"])
    assert redaction("see later-on, absolutely") == "see ***, absolutely"


def test_one_field_has_an_end() -> None:
    assert len(Redaction()("word " * 10_000)) < 4100


def test_the_terminal_decides_the_form() -> None:
    for stream, form in ((Terminal(), HumanFormatter), (io.StringIO(), JsonFormatter)):
        configure(stream=stream, environ={})
        assert type(logging.getLogger().handlers[0].formatter) is form
        logging.getLogger("chainwatch.x").info("hello")
        assert "hello" in stream.getvalue()


def test_the_journal_gets_priorities(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert under_journald(stream, environ)
        assert not under_journald(stream, {"JOURNAL_STREAM": "1:2"})
        configure(stream=stream, environ=environ)
        logging.getLogger("chainwatch.x").error("hello")
        logging.getLogger("chainwatch.x").debug("not this")
        stream.seek(0)
        assert [line[:4] for line in stream] == ["<3>{"]
