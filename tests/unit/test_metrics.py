"""The metrics that dashboards rely on."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from chainwatch.adapters.base import Observer
from chainwatch.metrics import Metrics, word
from chainwatch.model import BlockRef
from chainwatch.testing import FakeClock

PROMISED: dict[str, tuple[str, ...]] = {
    "chainwatch_head_height": ("chain",),
    "chainwatch_scanned_height": ("chain",),
    "chainwatch_final_height": ("chain",),
    "chainwatch_tip_age_seconds": ("chain",),
    "chainwatch_rpc_requests_total": ("chain", "endpoint", "method", "outcome"),
    "chainwatch_rpc_seconds_bucket": ("chain", "method", "le"),
    "chainwatch_reorgs_total": ("chain",),
    "chainwatch_reorg_depth_bucket": ("chain", "le"),
    "chainwatch_payments_total": ("chain", "asset", "state"),
    "chainwatch_tickets_minted_total": ("chain",),
    "chainwatch_refunds_due": (),
    "chainwatch_payouts_due": (),
    "chainwatch_review_open": (),
    "chainwatch_mint_latency_seconds_bucket": ("chain", "le"),
    "chainwatch_verify_total": ("scheme", "result"),
    "chainwatch_verify_seconds_bucket": ("scheme", "le"),
    "chainwatch_access_decisions_total": ("decision", "reason"),
    "chainwatch_checkins_total": ("outcome",),
    "chainwatch_access_classic_total": ("decision",),
    "chainwatch_outbox_pending": (),
    "chainwatch_outbox_oldest_seconds": (),
    "chainwatch_ledger_imbalance": (),
    "chainwatch_lease_held": ("chain",),
    "chainwatch_build_info": ("version",),
    "chainwatch_endpoint_up": ("chain", "endpoint"),
    "chainwatch_block_time_seconds": ("chain",),
    "chainwatch_oddities_total": ("chain", "what"),
    "chainwatch_config_reload_success": (),
    "chainwatch_quote_rate_age_seconds": ("asset", "currency"),
    "chainwatch_rate_sources_agreeing": ("asset", "currency"),
    "chainwatch_webhook_attempts_total": ("outcome",),
    "chainwatch_payment_endings_total": ("chain", "ending"),
}


def everything_happens(metrics: Metrics) -> None:
    head = BlockRef(100, "a")
    metrics.follow("HIVE")
    metrics.expect("HIVE", 3000)
    metrics.tip("HIVE", head, BlockRef(99, "b"))
    metrics.scanned("HIVE", 98)
    metrics.reorg("HIVE", 3)
    metrics.lease("HIVE", True)
    metrics.rpc("HIVE", "https://api.example:443", "block_api.get_block_range", "ok", 0.2)
    metrics.endpoint("HIVE", "https://api.example:443", False)
    metrics.count("HIVE", "memo_unreadable", 2)
    metrics.payment("HIVE", "HBD", "minted")
    metrics.ended("HIVE", "sold_out", 2)
    metrics.minted("HIVE", 4.0)
    metrics.queues(refunds_due=1, payouts_due=2, review_open=3)
    metrics.imbalance(0)
    metrics.verified("eip191", "valid", 0.0004)
    metrics.access("granted", "ok")
    metrics.classic("granted")
    metrics.outbox(0, None)
    metrics.rates_wanted({("HIVE", "USD")})
    metrics.rate_sources("HIVE", "USD", 2)
    metrics.webhook("delivered")
    metrics.checkin("accepted")
    metrics.reloaded(True)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics(clock: FakeClock) -> Metrics:
    return Metrics(clock)


def samples(metrics: Metrics) -> dict[str, set[tuple[str, ...]]]:
    found: dict[str, set[tuple[str, ...]]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(tuple(sorted(sample.labels)))
    return found


def test_every_promised_metric_is_there_with_its_labels(metrics: Metrics) -> None:
    everything_happens(metrics)
    found = samples(metrics)
    assert {name: found.get(name) for name in PROMISED} == {n: {tuple(sorted(ls))} for n, ls in PROMISED.items()}


def test_nothing_of_ours_is_exposed_that_the_list_does_not_name(metrics: Metrics) -> None:
    everything_happens(metrics)
    known = {n.removesuffix("_bucket") for n in PROMISED}
    families = {f.name for f in text_string_to_metric_families(metrics.render().decode())}
    ours = {f for f in families if f.startswith("chainwatch_") and not f.endswith("_created")}
    assert {f for f in ours if not any(f in {k, k.removesuffix("_total")} for k in known)} == set()


def test_the_age_of_the_tip_grows_while_nothing_answers(metrics: Metrics, clock: FakeClock) -> None:
    """A peer's lag metric stood still when its node did not answer: the alarm never came."""
    metrics.follow("ETH")
    clock.advance(30)
    assert value(metrics, "chainwatch_tip_age_seconds", chain="ETH") == 30
    metrics.tip("ETH", BlockRef(5, "a"))
    assert value(metrics, "chainwatch_tip_age_seconds", chain="ETH") == 0
    clock.advance(12)
    metrics.tip("ETH", BlockRef(5, "a"))
    assert value(metrics, "chainwatch_tip_age_seconds", chain="ETH") == 12
    metrics.tip("ETH", BlockRef(5, "fork"))
    assert value(metrics, "chainwatch_tip_age_seconds", chain="ETH") == 0


def test_the_age_of_the_tip_is_by_the_blocks_own_time_when_that_is_known(metrics: Metrics, clock: FakeClock) -> None:
    metrics.follow("ETH")
    metrics.tip("ETH", BlockRef(5, "a"), time_ms=clock.now_ms() - 3_600_000)
    assert value(metrics, "chainwatch_tip_age_seconds", chain="ETH") == 3600
    metrics.tip("ETH", BlockRef(6, "b"), time_ms=clock.now_ms() + 5000)
    assert value(metrics, "chainwatch_tip_age_seconds", chain="ETH") == 0


def test_the_age_of_the_outbox_grows_until_it_is_empty(metrics: Metrics, clock: FakeClock) -> None:
    metrics.outbox(2, clock.now_ms() - 1000)
    clock.advance(9)
    assert value(metrics, "chainwatch_outbox_oldest_seconds") == 10
    metrics.outbox(0, clock.now_ms() - 1000)
    assert value(metrics, "chainwatch_outbox_oldest_seconds") == 0


@pytest.mark.parametrize(
    "hostile",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "f" * 64,
        "alice said hello",
        "x" * 81,
        "",
        None,
        'a"b',
        "événement",
    ],
)
def test_no_label_is_an_address_an_id_or_free_text(hostile: str | None) -> None:
    assert word(hostile) == "other"


def test_our_own_words_stay_as_they_are() -> None:
    for name in ("ETH:USDC", "eth_getBlockReceipts", "http://127.0.0.1:8545", "https://[::1]:443", "refund_due"):
        assert word(name) == name


def test_two_daemons_in_one_process_share_nothing(clock: FakeClock) -> None:
    registry = CollectorRegistry()
    one, two = Metrics(clock, registry), Metrics(clock)
    one.reorg("ETH", 1)
    assert registry.get_sample_value("chainwatch_reorgs_total", {"chain": "ETH"}) == 1
    assert two.registry.get_sample_value("chainwatch_reorgs_total", {"chain": "ETH"}) is None


def test_adapters_may_report_to_it(metrics: Metrics) -> None:
    observer: Observer = metrics
    observer.rpc("ETH", "http://127.0.0.1:1", "eth_blockNumber", "timeout", 10.0)
    labels = {"chain": "ETH", "endpoint": "http://127.0.0.1:1", "method": "eth_blockNumber", "outcome": "timeout"}
    assert metrics.registry.get_sample_value("chainwatch_rpc_requests_total", labels) == 1


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)
