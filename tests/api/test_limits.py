"""Too many requests: counted by address, wallet and event, in bounded memory, and said with when to come back."""

from pathlib import Path

import pytest

from chainwatch.api.addresses import client_address
from chainwatch.api.limits import Buckets, Limits, network
from chainwatch.api.problems import Problem
from chainwatch.config.sections import Http
from chainwatch.ledger import devices
from chainwatch.testing.clock import FakeClock
from chainwatch.testing.doors import make_event, sell
from chainwatch.testing.served import NOW_MS, served
from chainwatch.testing.wallets import EvmWallet
from chainwatch.tickets.codes import Codes


def test_a_bucket_lets_a_minutes_worth_through_and_then_fills_evenly() -> None:
    clock = FakeClock()
    buckets = Buckets(clock)
    assert [buckets.take("a", 3)[1] for _ in range(3)] == [0, 0, 0]
    _, wait = buckets.take("a", 3)
    assert 0 < wait <= 20
    assert buckets.take("b", 3)[1] == 0
    clock.advance(20)
    assert buckets.take("a", 3)[1] == 0
    assert buckets.take("a", 3)[1] > 0


def test_a_flood_of_addresses_does_not_fill_the_memory() -> None:
    buckets = Buckets(FakeClock(), most=100)
    for i in range(10_000):
        buckets.take(f"10.0.{i // 256}.{i % 256}", 10)
    assert len(buckets) == 100


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_a_line_of_ipv6_is_one_caller(address: str, counted: str) -> None:
    assert network(address) == counted


def test_a_limit_is_by_wallet_and_by_event_too() -> None:
    limits = Limits(FakeClock(), lambda: Http(purchases_per_minute=2, purchases_per_minute_total=3))
    for _ in range(2):
        limits.take("purchases", "wallet", "alice")
    with pytest.raises(Problem, match="wallet"):
        limits.take("purchases", "wallet", "alice")
    for _ in range(3):
        limits.take("purchases", "event", "gala")
    with pytest.raises(Problem, match="event") as caught:
        limits.take("purchases", "event", "gala")
    assert caught.value.status == 429
    assert int(caught.value.headers["Retry-After"]) >= 1


async def test_who_floods_a_wallet_does_not_keep_its_holder_out(tmp_path: Path) -> None:
    """Anybody can name any wallet: they stand on every chain."""
    async with served(tmp_path, toml="[http]\naccess_per_minute_wallet = 12") as api:
        with api.store.transaction() as connection:
            make_event(connection, "gala", NOW_MS)
        path = f"/api/events/gala/challenge?wallet={EvmWallet('holder').address}"
        flood, holder = ({"X-Forwarded-For": a} for a in ("192.0.2.1", "192.0.2.2"))
        assert [(await api.get(path, **flood))[0] for _ in range(20)] == [200] * 12 + [429] * 8
        assert [(await api.get(path, **holder))[0] for _ in range(4)] == [200] * 2 + [429] * 2
        api.clock.advance(30)
        assert (await api.get(path, **flood))[0] == 200
        assert (await api.get(path, **holder))[0] == 200


async def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with served(tmp_path, toml="[http]\nrequests_per_minute = 5") as api:
        headers = {}
        for _ in range(6):
            async with api.session.get(api.server.url + "/openapi.json") as response:
                status, headers = response.status, response.headers
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert headers["RateLimit-Policy"] == '"requests";q=5;w=60'
        assert "r=0" in headers["RateLimit"]
        api.clock.advance(13)
        status, _ = await api.get("/openapi.json")
        assert status == 200


async def test_a_venue_s_scanners_are_not_turned_away_and_who_guesses_their_keys_is(tmp_path: Path) -> None:
    """All scanners stand behind one address, which the limit of all requests would let scan ten tickets a second."""
    async with served(tmp_path, toml="[http]\nrequests_per_minute = 3", chains=("HIVE",)) as api:
        with api.store.transaction() as connection:
            event = make_event(connection, "gala", NOW_MS)
            (uuid,) = sell(connection, event, 1, api.backend.issuer, NOW_MS)
            _, key = devices.add(connection, event, "gate", NOW_MS, "test")
        device = {"Authorization": f"Bearer {key}"}
        code = Codes(api.backend.issuer).v1(uuid)
        for i in range(20):
            status, said = await api.post("/api/checkin", {"code": code, "nonce": f"n{i}"}, **device)
            assert (status, said["accepted"]) == (200, True)
            assert (await api.get("/api/events/gala/manifest", **device))[0] == 200
        guesses = [await api.post("/api/checkin", {"code": code, "nonce": "x"}, Authorization=f"Bearer {key}x")
                   for _ in range(5)]  # fmt: skip
        assert [status for status, _ in guesses] == [401, 401, 401, 429, 429]
        assert (await api.get("/openapi.json"))[0] == 429
        assert (await api.get("/api/door", **device))[0] == 200


class Asked:
    """As much of a request as its address needs."""

    def __init__(self, remote: str, *forwarded: str) -> None:
        self.remote = remote
        self.headers = self
        self._forwarded = forwarded

    def getall(self, _name: str, _default: object) -> tuple[str, ...]:
        return self._forwarded


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("203.0.113.5", ("198.51.100.1",), "203.0.113.5"),  # nobody of ours: what it says is its own invention
        ("127.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("127.0.0.1", ("1.1.1.1, 198.51.100.1",), "198.51.100.1"),  # the left one was written by the caller
        ("127.0.0.1", ("1.1.1.1", "198.51.100.1, 10.0.0.2"), "198.51.100.1"),
        ("127.0.0.1", ("1.1.1.1, nonsense, 10.0.0.2",), "10.0.0.2"),
        ("127.0.0.1", (), "127.0.0.1"),
    ],
)
def test_only_trusted_proxies_are_believed(remote: str, forwarded: tuple[str, ...], address: str) -> None:
    asked = Asked(remote, *forwarded)
    assert client_address(asked, ("127.0.0.1", "10.0.0.0/8", "not an address")) == address  # type: ignore[arg-type]
