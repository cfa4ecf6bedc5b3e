"""The sections beside ``[chains.…]``: what may be written in each, with its default.

A key that ends in ``_file`` is the path of a secret; its content is in ``Settings.keys`` under
``<section>.<name>`` (``[access] turn_secret_file`` -> ``access.turn_secret``), and systemd may hand it out as the
credential ``<section>-<name>`` with dashes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Share = Annotated[int, Meta(ge=0, le=100)]
"""Per cent."""


class Database(msgspec.Struct, frozen=True):
    """``[database]``: where the ledger is kept."""

    url: str = ""


class Http(msgspec.Struct, frozen=True):
    """``[http]``: where the daemon listens, and how the world reaches it.

    ``cors_origins``: sites whose pages may call the API from a browser (``*``: any).  ``trusted_proxies``: addresses
    whose ``X-Forwarded-For`` is believed, so that rate limits see the caller and not the proxy.  Limits are requests
    a minute: of one address over everything; of one address, of one wallet and (``_total``) for one event for opening
    purchases; of one address and of one wallet for access.  Whole households and mobile networks share an address;
    scanners that prove themselves are not counted in these (``chainwatch.api.limits``).
    """

    listen: str = "127.0.0.1:8080"
    public_url: str = ""
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    request_seconds: Annotated[int, Meta(ge=1, le=300)] = 30
    requests_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] = 1200
    purchases_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] = 60
    purchases_per_minute_total: Annotated[int, Meta(ge=1, le=10_000_000)] = 60_000
    access_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] = 300
    access_per_minute_wallet: Annotated[int, Meta(ge=1, le=1_000_000)] = 60

    @property
    def host(self) -> str:
        """The address to bind."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to bind; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])


class Tickets(msgspec.Struct, frozen=True):
    """``[tickets]``: money and seats.

    ``signing_key_file``: the systemd credential ``signing-key`` if there is one, else as configured;
    None: the key in the state directory.  ``unsigned_hold_percent`` and ``seen_hold_percent`` cap the share of an
    event's seats that unsigned purchases, and purchases only seen in the mempool past their time, may hold.
    ``tolerance_bps``: how much of the price may be missing, by asset code (at most 5 %).
    """

    signing_key_file: Path | None = None
    commission_bps: Annotated[int, Meta(ge=0, le=10_000)] = 2000
    payout_delay_days: Annotated[int, Meta(ge=0, le=365)] = 7
    hold_minutes: Annotated[int, Meta(ge=1, le=24 * 60)] = 15
    seen_hold_minutes: Annotated[int, Meta(ge=1, le=7 * 24 * 60)] = 120
    unsigned_hold_percent: Share = 50
    seen_hold_percent: Share = 25
    tolerance_bps: Mapping[str, Annotated[int, Meta(ge=0, le=500)]] = {}
    long_memo: bool = False


class Access(msgspec.Struct, frozen=True):
    """``[access]``: what a wallet signs at the door, and what it gets behind it.

    ``websocket_url`` is a template with ``{event_id}``.  ``turn_secret_file``: coturn's ``static-auth-secret``.
    ``livekit_key_file`` holds ``<api key>:<api secret>``.  ``early_minutes``: how long before its start an event lets
    people in.  ``audit_days``: how long attempts are remembered; ``address_days``: how long after a wallet's last event
    its address is kept (0: for ever).
    """

    domain: str = ""
    window_seconds: Annotated[int, Meta(ge=30, le=3600)] = 300
    classic_messages: bool = True
    early_minutes: Annotated[int, Meta(ge=0, le=24 * 60)] = 30
    session_seconds: Annotated[int, Meta(ge=60, le=3600)] = 300
    websocket_url: str = ""
    turn_uris: tuple[str, ...] = ()
    turn_secret_file: str = ""
    turn_seconds: Annotated[int, Meta(ge=60, le=3600)] = 3600
    livekit_url: str = ""
    livekit_key_file: str = ""
    audit_days: Annotated[int, Meta(ge=1, le=3650)] = 365
    address_days: Annotated[int, Meta(ge=0, le=3650)] = 0


class Rates(msgspec.Struct, frozen=True):
    """``[rates]``: prices in money.

    ``sources`` are names of ``chainwatch.markets``; ``urls`` replaces their addresses (``hive`` is asked at the first
    node of ``[chains.HIVE]``); ``fixed`` replaces them all (built-in network): asset code to currency to decimal text.
    A rate needs ``quorum`` sources within ``agree_percent`` of each other, none older than ``max_age_seconds``; one
    that moved more than ``jump_percent`` since the last is not believed until it stays.
    """

    sources: tuple[str, ...] = ("coingecko", "kraken", "binance", "coinbase", "hive")
    quorum: Annotated[int, Meta(ge=2, le=10)] = 2
    agree_percent: Annotated[int, Meta(ge=1, le=20)] = 5
    max_age_seconds: Annotated[int, Meta(ge=10, le=3600)] = 300
    jump_percent: Annotated[int, Meta(ge=1, le=100)] = 20
    every_seconds: Annotated[int, Meta(ge=5, le=3600)] = 60
    fixed: Mapping[str, Mapping[str, str]] = {}
    urls: Mapping[str, str] = {}


class Payouts(msgspec.Struct, frozen=True):
    """``[payouts]``: money that leaves.

    ``approve_above``: an export of more than this needs a second operator; ``minimum``: smaller payouts wait for more;
    both decimal text by asset code.
    """

    approve_above: Mapping[str, str] = {}
    minimum: Mapping[str, str] = {}
    address_change_hours: Annotated[int, Meta(ge=0, le=720)] = 72


class Webhooks(msgspec.Struct, frozen=True):
    """``[webhooks]``: telling others.  ``allow_private``: loopback, private networks and plain http are told too."""

    allow_private: bool = False
    timeout_seconds: Annotated[int, Meta(ge=1, le=30)] = 10
    keep_days: Annotated[int, Meta(ge=3, le=365)] = 60


class Creators(msgspec.Struct, frozen=True):
    """``[creators]``: who may make events.

    ``authorize_url``: asked about an account before it creates (the platform's premium check); the secret signs the
    call as a webhook is signed.  Without it only operators make events.
    """

    authorize_url: str = ""
    authorize_secret_file: str = ""
    cache_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 300
    header_seconds: Annotated[int, Meta(ge=30, le=86_400)] = 300
    roles: tuple[Literal["posting", "active", "owner"], ...] = ("posting", "active", "owner")


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "database": Database,
    "http": Http,
    "tickets": Tickets,
    "access": Access,
    "rates": Rates,
    "payouts": Payouts,
    "webhooks": Webhooks,
    "creators": Creators,
}
"""Section name to what may stand in it."""
