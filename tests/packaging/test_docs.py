"""What the pages name is there: files, modules, commands with their options, chains; what they show works."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from chainwatch import adapters, cli
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.clock import SystemClock, system_random
from chainwatch.config import networks, settings
from chainwatch.config.chains import Checks
from chainwatch.config.sections import SECTIONS
from chainwatch.metrics import Metrics
from chainwatch.verifiers.encodings import base58check_text
from chainwatch.wallets import is_address_of

ROOT = Path(__file__).parents[2]
PAGES = [str(p.relative_to(ROOT)) for folder in (ROOT, ROOT / "docs") for p in sorted(folder.glob("*.md"))]
CODE = ("chainwatch", "adapters", "verifiers", "config")
BESIDE = ("tests", "bench", "systemd", "docs", "examples")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(rf"(?<![\w/.$~-])(?:{'|'.join((*CODE, *BESIDE))})/[\w./*-]*|(?<![\w/.-])[A-Z]+(?:\.md|file)\b")
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_DOTTED = re.compile(r"\bchainwatch(?:\.[A-Za-z_]\w*)+")
_FILES = re.compile(r"chainwatch\.(?:toml|db|service|example\b.*)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall(text_of(page)) if kind == language]


def inline(page: str) -> list[str]:
    return _INLINE.findall(_BLOCK.sub("", text_of(page)))


def command_lines(page: str) -> Iterator[str]:
    """Everything that the page says to type: console lines after their prompt, and code in running text."""
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith(("$ ", "# ")):
                yield re.split(r"\s#\s", line[2:])[0]
    yield from inline(page)


def chainwatch_commands(page: str) -> Iterator[list[str]]:
    for line in command_lines(page):
        try:
            words = shlex.split(line)
        except ValueError:
            continue  # a sentence's apostrophe: no command
        if words and len(words) > 1 and words[0].rsplit("/", 1)[-1] == "chainwatch":
            yield words[1:]


def wrong_in(words: list[str]) -> str:
    """Say what of a command does not exist; the empty text when all of it does."""
    command = typer.main.get_command(cli.app)
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    return next((f"no option {w!r}" for w in rest if w.startswith("--") and w.split("=")[0] not in options), "")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = {m[0].rstrip(".") for m in _PATH.finditer(text_of(page)) if text_of(page)[m.end() : m.end() + 1] != "<"}
    links = {link for link in _LINK.findall(text_of(page)) if "://" not in link}
    missing = [n for n in sorted(named) if not (any(ROOT.glob(n)) if "*" in n else (ROOT / n).exists())]
    missing += [link for link in sorted(links) if not ((ROOT / page).parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_and_name_that_a_page_names_exists(page: str) -> None:
    for name in sorted(set(_DOTTED.findall(text_of(page)))):
        if _FILES.fullmatch(name):
            continue
        parts = name.split(".")
        for n in range(len(parts), 0, -1):
            try:
                found: object = importlib.import_module(".".join(parts[:n]))
            except ImportError:
                continue
            for attribute in parts[n:]:
                assert hasattr(found, attribute), name
                found = getattr(found, attribute)
            break


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists_with_its_options(page: str) -> None:
    assert [(" ".join(w), wrong) for w in chainwatch_commands(page) if (wrong := wrong_in(w))] == []


def test_the_commands_are_found_at_all() -> None:
    named = {words[0] for page in PAGES for words in chainwatch_commands(page)}
    assert {"run", "demo", "check", "status", "audit", "event", "verify", "decode", "backfill", "keys", "db"} <= named
    assert wrong_in(["refunds", "exprot"])
    assert wrong_in(["status", "--jsno"])


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = {words[1] for line in command_lines(page) if (words := line.split())[:1] == ["make"] and len(words) == 2}
    assert named - targets == set()


def code_map() -> str:
    found = re.search(r"^## Code map$(.*?)^## ", text_of("ARCHITECTURE.md"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_every_folder_of_code_is_in_the_code_map() -> None:
    folders = {str(p.parent.relative_to(ROOT)) for name in CODE for p in (ROOT / name).rglob("*.py")}
    folders |= {*BESIDE, "config/prometheus"}
    assert [f for f in sorted(folders) if f"`{f}/`" not in code_map()] == []


def test_every_folder_of_tests_is_in_the_code_map() -> None:
    row = next(line for line in code_map().splitlines() if line.startswith("| `tests/`"))
    folders = [p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and not p.name.startswith(("_", "."))]
    assert [f for f in folders if f"`{f}`" not in row] == []


def test_every_chain_and_every_adapter_has_a_section_in_the_chains_page() -> None:
    headings = " ".join(re.findall(r"^## (.*)$", text_of("docs/chains.md"), re.MULTILINE))
    assert [code for code in networks.known() if not re.search(rf"\b{code}\b", headings)] == []
    assert [name for name in adapters.REGISTRY if f"`{name}`" not in text_of("docs/chains.md")] == []


def test_every_setting_is_in_a_page_that_operators_read() -> None:
    pages = "".join(text_of(page) for page in ("config/chainwatch.example.toml", *PAGES))
    keys = [(section, key) for section, kind in SECTIONS.items() for key in kind.__struct_fields__]
    assert len(keys) > 30
    assert [f"[{section}] {key}" for section, key in keys if not re.search(rf"\b{key}\b", pages)] == []


def test_every_metric_is_in_the_operators_page() -> None:
    page = text_of("docs/operating.md")
    ours = [m for m in Metrics(SystemClock()).registry.collect() if m.name.startswith("chainwatch_")]
    assert len(ours) > 30
    assert [m.name for m in ours if not re.search(rf"\b{m.name}(?:_total|_info)?\b", page)] == []


# -- what they show works ------------------------------------------------------------------------------

PLACEHOLDERS = {
    "YOUR-HIVE-ACCOUNT": "some-tickets",
    "YOUR-0X-ADDRESS": "0x52908400098527886E0F7030069857D2E4169EE7",  # EIP-55's own example
    "YOUR-BC1-ADDRESS": "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",  # BIP-173's own example
    "YOUR-SOLANA-WALLET": "So11111111111111111111111111111111111111112",
    # The donation address of the Monero project (getmonero.org)
    "YOUR-XMR-ADDRESS": "888tNkZrPN6JsEgekjMnABU4TBzc2Dt29EPAvkRxbANsAnjyPb"
    "b3iQ1YBRk1UXcdRsiKc9dhwMVgN5S9cQUiyoogDavup3H",
}

SNIPPETS = [(page, i) for page in PAGES for i, body in enumerate(blocks(page, "toml")) if "[chains." in body]


@pytest.mark.parametrize(("page", "number"), SNIPPETS)
def test_every_configuration_that_a_page_shows_is_accepted(page: str, number: int, tmp_path: Path) -> None:
    text = blocks(page, "toml")[number]
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    memo_key = base58check_text(b"\x80" + bytes(range(1, 33)))  # WIF
    for name, content in (("hive-memo-key", memo_key), ("monero-login", "watch:9f3c1e77b2")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "chainwatch.toml").write_text(text)
    services = Services(clock=SystemClock(), random=system_random(), observer=SilentObserver())
    checks = Checks(is_wallet=is_address_of, adapter=lambda spec: adapters.open_source(spec, services))
    environ = {"STATE_DIRECTORY": str(tmp_path / "state")}
    loaded = settings.load(tmp_path / "chainwatch.toml", environ=environ, checks=checks)
    assert set(loaded.chains) == set(re.findall(r"^\[chains\.(\w+)\]", text, re.MULTILINE))


def test_the_library_s_first_example_says_what_its_comment_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("README.md", "python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == example.rsplit("# ", 1)[1].strip()
