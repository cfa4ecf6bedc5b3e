"""The configuration: read from file and environment, and refused with the line that is wrong."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from chainwatch.access.message import is_domain, is_uri_prefix
from chainwatch.config import settings
from chainwatch.config.chains import Checks
from chainwatch.config.settings import Settings
from chainwatch.errors import Misconfigured
from chainwatch.finality import Rule, Tier
from chainwatch.model import ChainSpec

WIF = "5KYZdUEo39z3FPrtuX2QbbwGnNP5zTd7yyr2SC1j299sBCnWjss"  # Bitcoin wiki's published example
XPRV = (  # BIP-32 test vector 1, chain m
    "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi"
)
FINAL = Rule((Tier(final=True),))

ETH = """
[chains.ETH]
endpoints = ["http://127.0.0.1:8545"]
receive = ["0x52908400098527886E0F7030069857D2E4169EE7"]
"""
POLYGON = ETH.replace("ETH", "MATIC")


def parse(text: str, tmp_path: Path, checks: Checks | None = None, **environ: str) -> Settings:
    return settings.parse(text, environ={"HOME": str(tmp_path), **environ}, checks=checks or Checks())


def refusal(text: str, tmp_path: Path, checks: Checks | None = None, **environ: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        parse(text, tmp_path, checks, **environ)
    return str(caught.value)


def depth(blocks: int) -> Rule:
    return Rule((Tier(depth=blocks),))


def secret(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


# -- where settings come from ------------------------------------------------------------------------


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    got = parse("", tmp_path)
    assert got.database.url == f"sqlite:///{tmp_path}/.local/state/chainwatch/chainwatch.db"
    assert (got.http.host, got.http.port, got.http.public_url) == ("127.0.0.1", 8080, "http://127.0.0.1:8080")
    assert (got.tickets.commission_bps, got.tickets.payout_delay_days) == (2000, 7)
    assert (got.tickets.hold_minutes, got.tickets.seen_hold_minutes) == (15, 120)
    assert (got.access.window_seconds, got.access.classic_messages) == (300, True)
    assert got.chains == {}


def test_the_first_file_that_is_there_is_read(tmp_path: Path) -> None:
    etc, here = tmp_path / "etc.toml", tmp_path / "here.toml"
    here.write_text("")
    assert settings.find_file(None, (etc, here)) == here
    etc.write_text("")
    assert settings.find_file(None, (etc, here)) == etc
    assert settings.find_file(here, (etc,)) == here
    assert settings.find_file(None, ()) is None


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"gone\.toml cannot be read: No such file"):
        settings.load(tmp_path / "gone.toml", environ={"HOME": str(tmp_path)})


def test_a_file_in_a_folder_that_is_closed_to_us_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``/etc/chainwatch`` of mode 0700 and an ordinary user: not the embedded defaults, and no traceback."""
    closed = tmp_path / "closed" / "chainwatch.toml"

    def refuse(path: Path, *_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert settings.find_file(candidates=(closed,)) == closed
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Misconfigured, match="cannot be read: Permission denied"):
        settings.load(closed, environ={"HOME": str(tmp_path)})


def test_the_environment_stands_over_the_file(tmp_path: Path) -> None:
    got = parse(
        ETH + "[tickets]\nhold_minutes = 15\n",
        tmp_path,
        CHAINWATCH__TICKETS__HOLD_MINUTES="20",
        CHAINWATCH__HTTP__PUBLIC_URL="https://tickets.example.org/",
        CHAINWATCH__CHAINS__ETH__ENDPOINTS="http://127.0.0.1:1,http://127.0.0.1:2",
        CHAINWATCH__CHAINS__ETH__FINALITY='[{below = "0.5", depth = 12}, {final = true}]',
        CHAINWATCH__ACCESS__CLASSIC_MESSAGES="false",
    )
    assert got.tickets.hold_minutes == 20
    assert got.http.public_url == "https://tickets.example.org"
    assert got.access.domain == "tickets.example.org"
    assert got.access.classic_messages is False
    assert got.chains["ETH"].spec.endpoints == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert got.chains["ETH"].finality == Rule((Tier(5 * 10**17, 12), Tier(final=True)))


def test_a_whole_chain_may_come_from_the_environment(tmp_path: Path) -> None:
    got = parse(
        "",
        tmp_path,
        CHAINWATCH__CHAINS__HIVE__ENDPOINTS="https://api.hive.blog",
        CHAINWATCH__CHAINS__HIVE__RECEIVE="dlux-tickets",
        CHAINWATCH__CHAINS__HIVE__START="90000000",
    )
    spec = got.chains["HIVE"].spec
    assert (spec.receive, spec.endpoints, spec.start) == (("dlux-tickets",), ("https://api.hive.blog",), 90_000_000)


def test_the_state_directory_is_private_and_systemd_decides_first(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir(mode=0o755)
    environ = {"STATE_DIRECTORY": f"{given}:/other", "XDG_STATE_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path)}
    assert settings.state_dir(environ) == given
    assert stat.S_IMODE(given.stat().st_mode) == 0o700
    del environ["STATE_DIRECTORY"]
    assert settings.state_dir(environ) == tmp_path / "xdg/chainwatch"
    del environ["XDG_STATE_HOME"]
    made = settings.state_dir(environ)
    assert made == tmp_path / ".local/state/chainwatch"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_no_place_for_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="STATE_DIRECTORY"):
        settings.state_dir({})


# -- chains ------------------------------------------------------------------------------------------


def test_a_section_is_laid_over_what_is_known_of_the_chain(tmp_path: Path) -> None:
    chain = parse(ETH + "traces = false\nquorum = {above = '1.5', nodes = 2}\n", tmp_path).chains["ETH"]
    assert (chain.spec.adapter, chain.spec.family, chain.spec.chain_id) == ("evm", "evm", "1")
    assert [a.code for a in chain.spec.assets] == ["ETH", "ETH:USDC", "ETH:USDT"]
    assert chain.spec.options == {"traces": False, "quorum": {"above": "1.5", "nodes": 2}}
    assert chain.finality == Rule((Tier(10**17, 12, final=True), Tier(final=True)))
    assert chain.payout_finality == FINAL


def test_an_alias_is_its_chain_and_the_same_chain_twice_is_refused(tmp_path: Path) -> None:
    pol = ETH.replace("ETH", "POL")
    assert list(parse(pol, tmp_path).chains) == ["MATIC"]
    assert "is MATIC again" in refusal(pol + ETH.replace("ETH", "MATIC"), tmp_path)


def test_the_same_network_under_two_names_is_refused(tmp_path: Path) -> None:
    """Every payment on it would be counted twice."""
    message = refusal(ETH + ETH.replace("ETH", "BNB") + "chain_id = 1\n", tmp_path)
    assert "[chains] 'BNB' has the chain id of ETH" in message


def test_a_chain_nobody_knows_needs_its_whole_description(tmp_path: Path) -> None:
    section = """
    [chains.ARB]
    adapter = "evm"
    family = "evm"
    chain_id = 42161
    block_time_ms = 250
    finality = 20
    payout_depth = 200
    endpoints = ["http://127.0.0.1:1"]
    receive = ["0x52908400098527886E0F7030069857D2E4169EE7"]
    assets = { ARBETH = { decimals = 18, dust = 1000 } }
    tokens = { USDC = { contract = "0xaf88d065e77c8cC2239327C5EDb3A432268e5831", decimals = 6 } }
    params = { gas = "flat" }
    """
    chain = parse(section, tmp_path).chains["ARB"]
    assert (chain.spec.chain_id, chain.spec.native.dust, chain.spec.params) == ("42161", 1000, {"gas": "flat"})
    assert chain.spec.assets[1].code == "ARB:USDC"
    assert (chain.finality, chain.payout_finality) == (depth(20), depth(200))
    less = section.replace("chain_id = 42161", "").replace("finality = 20", "")
    assert "must say chain_id, finality too" in refusal(less, tmp_path)


def test_an_account_may_be_shared_with_another_service(tmp_path: Path) -> None:
    text = "[chains.HIVE]\nendpoints = ['http://a']\nreceive = ['tix', 'dlux-io']\nshared = ['dlux-io']\n"
    assert parse(text, tmp_path).chains["HIVE"].spec.shared == ("dlux-io",)


def test_named_tokens_are_exactly_those_with_what_is_known_of_each(tmp_path: Path) -> None:
    assets = parse(ETH + "tokens = { USDC = {} }\n", tmp_path).chains["ETH"].spec.assets
    assert [(a.code, a.decimals) for a in assets] == [("ETH", 18), ("ETH:USDC", 6)]
    assert parse(ETH + "tokens = {}\n", tmp_path).chains["ETH"].spec.assets[-1].code == "ETH"


def test_what_an_operator_says_of_a_coin_keeps_the_other_coins(tmp_path: Path) -> None:
    text = '[chains.HIVE]\nendpoints=["http://a"]\nreceive=["tix"]\nassets = { HBD = { dust = 5 } }\n'
    assets = parse(text, tmp_path).chains["HIVE"].spec.assets
    assert [(a.code, a.decimals, a.dust) for a in assets] == [("HIVE", 3, 0), ("HBD", 3, 5)]


def test_devnet_sections_stand_in_for_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chainwatch.toml"
    file.write_text(ETH + "[tickets]\ncommission_bps = 100\n")
    sections = {"HIVE": {"endpoints": ["http://127.0.0.1:9"], "receive": ["tix"]}}
    got = settings.load(file, environ={"HOME": str(tmp_path)}, chains=sections)
    assert (list(got.chains), got.tickets.commission_bps) == (["HIVE"], 100)


# -- refusals, each with its line --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tickets]\n\nhold_minutes = 'x'\n", "chainwatch.toml line 3: [tickets] 'hold_minutes' is not right"),
        ("[tickets]\ncommission_bps = 10001\n", "line 2: [tickets] 'commission_bps' is not right"),
        ("[tickets]\nhold_minutes = true\n", "line 2: [tickets] 'hold_minutes' is not right"),
        ("[tikets]\n", "chainwatch.toml line 1: unknown section 'tikets' (did you mean 'tickets'?)"),
        ("[http]\nlisten = '8080'\n", "line 2: [http] 'listen' is not"),
        ("[http]\nlisten = '127.0.0.1:99999'\n", "line 2: [http] 'listen' is not"),
        ("[http]\npublic_url = 'ftp://x'\n", "line 2: [http] 'public_url' is not"),
        ("[http]\npublik_url = 'x'\n", "line 2: [http] unknown key 'publik_url' (did you mean 'public_url'?)"),
        ("[database]\nurl = 'mysql://x'\n", "line 2: [database] 'url' is neither"),
        ("[database]\nurl = 'postgresql://cw:changeme@db/cw'\n", "line 2: [database] 'url' has a default password"),
        ("database = 3\n", "line 1: 'database' is a section, not a value"),
        ("chains = []\n", "line 1: 'chains' is a section"),
        ("[chains]\nETH = 3\n", "line 2: [chains] 'ETH' is a section"),
        ("[a\n", "chainwatch.toml line 1: "),
        ("[a]\nb = 1\nb = 2\n", "chainwatch.toml line 3: Cannot overwrite a value"),
        (ETH + "finalty = 3\n", "line 5: [chains.ETH] unknown key 'finalty' (did you mean 'finality'?)"),
        (ETH + "finality = 0\n", "line 5: [chains.ETH] 'finality' is not right: a depth"),
        (ETH + "finality = 'safe'\n", "line 5: [chains.ETH] 'finality' is not right: 'safe'"),
        (ETH + "finality = [{below = '1', depth = 6}, {depth = 2}]\n", "'finality' is not right: a larger amount"),
        (ETH + "finality = [{below = 0.1, depth = 6}, {depth = 9}]\n", "line 5: [chains.ETH] 'finality' is not right"),
        (ETH + "payout_depth = 6\n", "line 5: [chains.ETH] 'payout_depth' is weaker than 'finality'"),
        (ETH + "payout_depth = 6\npayout_finality = 6\n", "keep one"),
        (ETH + "shared = ['0x1']\n", "line 5: [chains.ETH] 'shared' names '0x1', which is not in 'receive'"),
        (ETH + "start = -1\n", "line 5: [chains.ETH] 'start' is"),
        (ETH + "start = 'top'\n", "line 5: [chains.ETH] 'start' is"),
        (ETH + "tokens = { X = { decimals = 6 } }\n", "line 5: [chains.ETH] 'tokens' has ETH:X without"),
        (ETH + "tokens = { X = { contract = '0x1' } }\n", "line 5: [chains.ETH.tokens] 'X' is not right"),
        (ETH + "tokens = 3\n", "line 5: [chains.ETH] 'tokens' is not right"),
        (ETH + "params = { finality = 3 }\n", "line 5: [chains.ETH.params] 'finality' is a key of the section"),
        (ETH + "block_time_ms = 'x'\n", "line 5: [chains.ETH] 'block_time_ms' is not right"),
        (ETH + "login = 'a:b'\n", "line 5: [chains.ETH] 'login' is a secret: put it into a file and write login_file"),
        ("[chains.NEW]\nadapter = 'evm'\n", "line 1: [chains] 'NEW' is no chain that is known here"),
        ("[chains.ETH]\nreceive = ['0x1']\n", "line 1: [chains.ETH] 'endpoints' is missing"),
        ("[chains.ETH]\nendpoints = ['http://a']\n", "line 1: [chains.ETH] 'receive' is missing"),
        ("[chains.ETH]\nendpoints = [\n'http://a',\n'ftp://b']\n", "line 4: [chains.ETH] 'endpoints' has an entry"),
        ("[chains.ETH]\nendpoints = ['http://a', 'http://a']\n", "line 2: [chains.ETH] 'endpoints' names a node twice"),
        ("[chains.ETH]\nendpoints = ['http://u:password@a']\n", "line 2: [chains.ETH] 'endpoints' has a URL"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_line_and_key(text: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(text, tmp_path)


def test_what_is_wrong_in_the_environment_is_named_by_its_variable(tmp_path: Path) -> None:
    assert refusal("", tmp_path, CHAINWATCH__TICKETS__HOLD_MINUTES="soon").startswith(
        "environment variable CHAINWATCH__TICKETS__HOLD_MINUTES: [tickets] 'hold_minutes' is not right"
    )
    assert "CHAINWATCH__TICKETS__HOLD" in refusal("", tmp_path, CHAINWATCH__TICKETS__HOLD="3")
    assert "name it CHAINWATCH__SECTION__KEY" in refusal("", tmp_path, CHAINWATCH__TICKETS="3")
    unknown = refusal("", tmp_path, CHAINWATCH__TIKETS__HOLD_MINUTES="3")
    assert unknown.startswith("environment variable CHAINWATCH__TIKETS__HOLD_MINUTES: unknown section 'tikets'")


def test_what_the_adapter_refuses_is_named_with_its_line(tmp_path: Path) -> None:
    def adapter(spec: ChainSpec) -> None:
        if "trace" in spec.options:
            raise Misconfigured("no option trace; did you mean traces")
        if spec.options.get("batch") == 0:
            raise Misconfigured("[chains.ETH] batch must be at most the number of endpoints")

    checks = Checks(adapter=adapter)
    assert refusal(ETH + "batch = 1\ntrace = true\n", tmp_path, checks) == (
        "chainwatch.toml line 6: [chains.ETH] no option trace; did you mean traces"
    )
    assert refusal(ETH + "batch = 0\n", tmp_path, checks) == (
        "chainwatch.toml line 5: [chains.ETH] batch must be at most the number of endpoints"
    )
    assert parse(ETH + "traces = true\n", tmp_path, checks).chains["ETH"].spec.options == {"traces": True}


def test_each_receiving_address_is_checked_by_its_chains_rules(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def is_wallet(spec: ChainSpec, text: str) -> bool:
        asked.append((spec.family, text))
        return text.startswith("0x52")

    checks = Checks(is_wallet=is_wallet)
    parse(ETH, tmp_path, checks)
    assert asked == [("evm", "0x52908400098527886E0F7030069857D2E4169EE7")]
    bad = '[chains.ETH]\nendpoints = ["http://a"]\nreceive = [\n  "0x52",\n  "0x99",\n]\n'
    assert "line 5: [chains.ETH] 'receive' has '0x99', no valid ETH address" in refusal(bad, tmp_path, checks)


SIGNED = Checks(is_domain=is_domain, is_uri_prefix=is_uri_prefix)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[access]\ndomain = 'https://tix.example/'\n", "line 2: [access] 'domain' is not a host name"),
        ("[access]\ndomain = 'tix.example/'\n", "line 2: [access] 'domain' is not a host name"),
        ("[access]\ndomain = 'tix example'\n", "line 2: [access] 'domain' is not a host name"),
        ("[http]\npublic_url = 'https://tickéts.example'\n", "line 2: [http] 'public_url' gives no domain"),
        ("[http]\nlisten = '[::1]:8080'\n", "line 2: [http] 'listen' gives no domain"),
        ("[access]\ndomain = 'a.b'\n[http]\npublic_url = 'https://a.b/x y'\n", "line 4: [http] 'public_url' is not an"),
        ("[access]\ndomain = 'a.b'\n[http]\npublic_url = 'http://[::1]:80'\n", "line 4: [http] 'public_url' is not an"),
    ],
)
def test_a_domain_that_no_wallet_can_be_asked_to_sign_is_refused_before_every_guest_is(
    text: str, message: str, tmp_path: Path
) -> None:
    assert message in refusal(text, tmp_path, SIGNED)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("", "127.0.0.1:8080"),
        ("[http]\nlisten = '127.0.0.1:0'\n", "127.0.0.1:0"),
        ("[http]\npublic_url = 'https://Tix.example/shop/'\n", "Tix.example"),
        ("[http]\nlisten = '[::]:8080'\npublic_url = 'https://tix.example:8443'\n", "tix.example:8443"),
        ("[access]\ndomain = 'tix.example'\n", "tix.example"),
    ],
)
def test_the_domain_of_signed_texts_is_named_or_the_site_s_own(text: str, domain: str, tmp_path: Path) -> None:
    assert parse(text, tmp_path, SIGNED).access.domain == domain


@pytest.mark.parametrize(
    "key",
    [WIF, XPRV, "L" + WIF, f"wpkh({XPRV}/84h/0h/0h/0/*)", "ab" * 32, "0x" + "AB" * 32, " ".join(["legal"] * 12)],
    ids=["wif", "xprv", "wif52", "descriptor", "hex", "0x", "phrase"],
)
@pytest.mark.parametrize(
    "where", ["receive = ['%s']", "xpub = '%s'", "tokens = { X = { contract = '%s', decimals = 1 } }"]
)
def test_a_private_key_where_a_public_one_is_asked_is_refused_and_not_shown(
    key: str, where: str, tmp_path: Path
) -> None:
    message = refusal("[chains.ETH]\nendpoints = ['http://a']\n" + where % key + "\n", tmp_path)
    assert "line 3: " in message
    assert "only public keys and addresses belong here" in message
    assert key not in message


def test_a_hash_may_stand_where_a_hash_is_asked(tmp_path: Path) -> None:
    options = parse(ETH + f"genesis = '0x{'ab' * 32}'\n", tmp_path).chains["ETH"].spec.options
    assert options == {"genesis": "0x" + "ab" * 32}


def test_a_login_hides_its_password_alone_too(tmp_path: Path) -> None:
    file = secret(tmp_path / "login", "alice:k2f9x")
    assert "k2f9x" in parse(HIVE + f"login_file = '{file}'\n", tmp_path).secrets


def test_public_material_is_not_taken_for_a_private_key(tmp_path: Path) -> None:
    xpub = (  # BIP-32 test vector 1, chain m
        "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGM"
        "cet8"
    )
    for text in (
        xpub,
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "4" * 95,
        "bc1q" + "a" * 58,
        "7" * 44,
        "dlux-tickets",
    ):
        parse(f"[chains.ETH]\nendpoints = ['http://a']\nreceive = ['{text}']\n", tmp_path)


# -- secrets -----------------------------------------------------------------------------------------

HIVE = "[chains.HIVE]\nendpoints = ['http://a']\nreceive = ['tix']\n"


def test_a_secret_stands_in_its_file_and_is_known_to_the_log_filter_alone(tmp_path: Path) -> None:
    file = secret(tmp_path / "memo", f"{WIF}\n")
    got = parse(HIVE + f"memo_key_file = '{file}'\n", tmp_path)
    assert got.chains["HIVE"].spec.options == {"memo_key_file": str(file)}
    assert WIF not in repr(got)
    assert WIF in got.secrets


def test_a_systemd_credential_comes_first(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    secret(credentials / "hive-memo-key", "from-systemd", 0o440)
    text = HIVE + "memo_key_file = '/nowhere/memo'\n"
    got = parse(text, tmp_path, CREDENTIALS_DIRECTORY=str(credentials))
    assert got.chains["HIVE"].spec.options == {"memo_key_file": str(credentials / "hive-memo-key")}
    secret(credentials / "signing-key", "k", 0o400)
    got = parse("", tmp_path, CREDENTIALS_DIRECTORY=str(credentials))
    assert got.tickets.signing_key_file == credentials / "signing-key"
    assert "cannot be read" in refusal(text, tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path))


def test_a_relative_secret_file_stands_beside_the_configuration(tmp_path: Path) -> None:
    secret(tmp_path / "memo", "k2f9x")
    file = tmp_path / "chainwatch.toml"
    file.write_text(HIVE + "memo_key_file = 'memo'\n")
    got = settings.load(file, environ={"HOME": str(tmp_path)})
    assert got.chains["HIVE"].spec.options == {"memo_key_file": str(tmp_path / "memo")}


def test_commands_that_talk_to_no_node_need_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "chainwatch.toml"
    file.write_text(HIVE + "memo_key_file = '/nowhere/not-for-you'\n")
    got = settings.load(file, environ={"HOME": str(tmp_path)}, with_secrets=False)
    assert got.chains["HIVE"].secrets == ()


def _fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: secret(p, "k2f9x", 0o644), "can be read or changed by other users of this machine: chmod 0600"),
        (lambda p: secret(p, "k2f9x", 0o660), "can be read or changed by other users"),
        (lambda p: secret(p, "changeme\n"), "holds a placeholder"),
        (lambda p: secret(p, "<your-secret>"), "holds a placeholder"),
        (lambda p: secret(p, " \n"), "holds a placeholder"),
        (lambda p: secret(p, "00000000"), "holds a placeholder"),
        (lambda p: secret(p, "x9" * 40_000), "is larger than"),
        (lambda p: (p.write_bytes(b"\xff\xfe\x00"), p.chmod(0o600)), "is not text"),
        (lambda p: p.mkdir(mode=0o700), "is not a regular file"),
        (_fifo, "is not a regular file"),
        (lambda p: None, "cannot be read: No such file or directory"),
    ],
    ids=[
        "world-readable",
        "group-writable",
        "default",
        "brackets",
        "empty",
        "zeros",
        "huge",
        "binary",
        "folder",
        "pipe",
        "missing",
    ],
)
def test_a_secret_file_that_is_no_secret_is_refused(make: Any, why: str, tmp_path: Path) -> None:
    """Default secrets in a peer: SHKeeper's backend key was "shkeeper" unless somebody changed it."""
    make(tmp_path / "memo")
    message = refusal(HIVE + f"memo_key_file = '{tmp_path}/memo'\n", tmp_path)
    assert message.startswith("chainwatch.toml line 4: [chains.HIVE] 'memo_key_file' is not usable: ")
    assert why in message


def test_passwords_and_provider_keys_in_urls_are_known_to_the_log_filter(tmp_path: Path) -> None:
    text = "[database]\nurl = 'postgresql://cw:pg-Pa55@db/cw'\n[chains.ETH]\nreceive=['0x1']\n"
    text += "endpoints = ['http://u:n0de-pw@a', 'https://rpc.example/v3/0123456789abcdef0123456789abcdef']\n"
    secrets = parse(text, tmp_path).secrets
    assert {"pg-Pa55", "n0de-pw", "0123456789abcdef0123456789abcdef"} <= set(secrets)


# -- reload ------------------------------------------------------------------------------------------


def reloaded(old: str, new: str, tmp_path: Path) -> tuple[Settings, tuple[str, ...]]:
    wanted = parse(new, tmp_path)
    applied = settings.reload(parse(old, tmp_path), wanted)
    return applied, settings.waits_for_restart(applied, wanted)


def test_depths_rise_at_once(tmp_path: Path) -> None:
    applied, waiting = reloaded(POLYGON + "finality = 3\n", POLYGON + "finality = 30\n", tmp_path)
    assert applied.chains["MATIC"].finality == applied.chains["MATIC"].payout_finality == depth(30)
    assert waiting == ()
    assert reloaded(POLYGON + "finality = 3\n", POLYGON, tmp_path)[0].chains["MATIC"].finality == FINAL


def test_depths_fall_only_at_restart(tmp_path: Path) -> None:
    applied, waiting = reloaded(POLYGON, POLYGON + "finality = 3\n", tmp_path)
    assert applied.chains["MATIC"].finality == FINAL
    assert waiting == ("chains.MATIC",)


def test_only_the_amounts_whose_depth_rises_change_at_once(tmp_path: Path) -> None:
    old = ETH + "finality = [{below = '1', depth = 5}, {depth = 10}]\n"
    new = ETH + "finality = [{below = '2', depth = 2}, {depth = 20}]\n"
    applied, waiting = reloaded(old, new, tmp_path)
    assert applied.chains["ETH"].finality == Rule((Tier(10**18, 5), Tier(2 * 10**18, 10), Tier(None, 20)))
    assert waiting == ("chains.ETH",)


def test_what_the_running_parts_were_built_with_waits_for_a_restart(tmp_path: Path) -> None:
    new = (
        HIVE
        + "[http]\nlisten = '127.0.0.1:1'\n[database]\nurl = 'sqlite:////x.db'\n"
        + "[tickets]\nhold_minutes = 5\nsigning_key_file = 'k'\n"
    )
    applied, waiting = reloaded(ETH, new, tmp_path)
    assert waiting == ("database.url", "http.listen", "tickets.signing_key_file", "chains.ETH", "chains.HIVE")
    assert (list(applied.chains), applied.http.port, applied.tickets.hold_minutes) == (["ETH"], 8080, 5)


# -- the example -------------------------------------------------------------------------------------


def test_the_example_needs_only_receiving_accounts(tmp_path: Path) -> None:
    def is_wallet(_spec: ChainSpec, text: str) -> bool:
        return "YOUR" not in text

    checks = Checks(is_wallet=is_wallet)
    assert "'receive' has 'YOUR-HIVE-ACCOUNT', no valid HIVE address" in refusal(settings.example(), tmp_path, checks)
    filled = settings.example().replace("YOUR-HIVE-ACCOUNT", "tix").replace(
        "YOUR-0X-ADDRESS", "0x52908400098527886E0F7030069857D2E4169EE7"
    )  # fmt: skip
    got = parse(filled, tmp_path, checks)
    assert list(got.chains) == ["HIVE", "ETH", "MATIC", "BNB"]
    assert all(len(c.spec.endpoints) >= 2 for c in got.chains.values())


def test_an_address_in_the_environment_is_text_though_it_reads_as_a_number(tmp_path: Path) -> None:
    address = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
    got = parse(ETH, tmp_path, CHAINWATCH__CHAINS__ETH__RECEIVE=address)
    assert got.chains["ETH"].spec.receive == (address,)


def test_keys_below_a_table_may_come_from_the_environment_each_by_itself(tmp_path: Path) -> None:
    """Codes of coins stand as they are written, amounts are read exactly, seconds may have a fraction."""
    got = parse(
        ETH,
        tmp_path,
        CHAINWATCH__CHAINS__ETH__TOKENS__USDC__DECIMALS="6",
        CHAINWATCH__CHAINS__ETH__TOKENS__stETH__CONTRACT="0xae7ab96520DE3A18E5e111B5EaAb095312D7fE84",
        CHAINWATCH__CHAINS__ETH__TOKENS__stETH__DECIMALS="18",
        CHAINWATCH__CHAINS__ETH__QUORUM__ABOVE="1.5",
        CHAINWATCH__CHAINS__ETH__QUORUM__NODES="2",
        CHAINWATCH__CHAINS__ETH__TIMEOUT="2.5",
        CHAINWATCH__PAYOUTS__MINIMUM__ETH="1",
        CHAINWATCH__PAYOUTS__APPROVE_ABOVE='{ETH = "2.50"}',
        CHAINWATCH__TICKETS__TOLERANCE_BPS__ETH="100",
        CHAINWATCH__RATES__FIXED__ETH__USD="3500",
        CHAINWATCH__RATES__URLS__KRAKEN="http://127.0.0.1:1",
        CHAINWATCH__ACCESS__DOMAIN="inf",
    )
    spec = got.chains["ETH"].spec
    assert [(a.code, a.decimals) for a in spec.assets] == [("ETH", 18), ("ETH:USDC", 6), ("ETH:stETH", 18)]
    assert dict(spec.options) == {"quorum": {"above": "1.5", "nodes": 2}, "timeout": 2.5}
    assert (dict(got.payouts.minimum), dict(got.payouts.approve_above)) == ({"ETH": "1"}, {"ETH": "2.50"})
    assert dict(got.tickets.tolerance_bps) == {"ETH": 100}
    assert got.rates.fixed == {"ETH": {"USD": "3500"}}
    assert got.rates.urls == {"kraken": "http://127.0.0.1:1"}
    assert got.access.domain == "inf"


# -- chains that share their accounts ----------------------------------------------------------------


def test_what_receives_on_one_evm_chain_is_watched_on_every_other(tmp_path: Path) -> None:
    other = "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"
    polygon = POLYGON.replace("0x52908400098527886E0F7030069857D2E4169EE7", other) + f'shared = ["{other}"]\n'
    hive = '[chains.HIVE]\nendpoints = ["https://api.hive.blog"]\nreceive = ["till"]\n'
    got = {code: c.spec for code, c in parse(ETH + polygon + hive, tmp_path).chains.items()}
    assert (got["ETH"].kin, got["ETH"].also, got["ETH"].shared) == (("MATIC",), (other,), (other,))
    assert got["MATIC"].kin == ("ETH",)
    assert got["MATIC"].also == ("0x52908400098527886E0F7030069857D2E4169EE7",)
    assert (got["HIVE"].kin, got["HIVE"].also) == ((), ())
    alone = parse(ETH, tmp_path).chains["ETH"].spec
    assert (alone.kin, alone.also) == ((), ())


# -- terms of sale ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key", "most"),
    [("tickets.tolerance_bps", "BTC", 500), ("tickets", "commission_bps", 10_000), ("rates", "agree_percent", 20)],
)
def test_terms_of_sale_have_bounds(tmp_path: Path, section: str, key: str, most: int) -> None:
    """A tolerance of 100 % settled invoices for nothing (btcpayserver/btcpayserver#6378)."""
    parse(f"[{section}]\n{key} = {most}\n", tmp_path)
    assert f"{most}" in refusal(f"[{section}]\n{key} = {most + 1}\n", tmp_path)
    default = parse("", tmp_path)
    assert default.tickets.tolerance_bps == {}
    assert (default.rates.agree_percent, default.rates.max_age_seconds, default.rates.quorum) == (5, 300, 2)
    assert "quorum" in refusal("[rates]\nquorum = 1\n", tmp_path)
