"""Alarms: on metrics that exist, each shown to fire, to stay silent and to resolve."""

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chainwatch.metrics import Metrics
from chainwatch.model import BlockRef
from chainwatch.testing import FakeClock
from chainwatch.testing.tools import find_tool

FOLDER = Path(__file__).parents[2] / "config/prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
CASES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts_test.yml").read_text("utf-8"))["tests"]
PROMETHEUS_OWN = {"process_start_time_seconds"}


@pytest.fixture(scope="module")
def exposed() -> dict[str, list[dict[str, str]]]:
    """Sample name -> label sets, of a registry in which everything happened once."""
    metrics = Metrics(FakeClock())
    metrics.follow("ETH")
    metrics.expect("ETH", 12_000)
    metrics.tip("ETH", BlockRef(2, "b"), BlockRef(1, "a"))
    metrics.scanned("ETH", 2)
    metrics.rpc("ETH", "e", "m", "ok", 0.1)
    metrics.endpoint("ETH", "e", True)
    metrics.count("ETH", "bloom_without_log")
    metrics.verified("eip191", "valid", 0.1)
    metrics.rates_wanted({("HIVE", "USD")})
    metrics.rate_sources("HIVE", "USD", 2)
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found[sample.name].append(sample.labels)
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r["alert"])
def test_every_alarm_asks_for_metrics_and_labels_that_exist(
    rule: dict[str, Any], exposed: dict[str, list[dict[str, str]]]
) -> None:
    names = set(re.findall(r"\b(?:chainwatch|process)_\w+", rule["expr"]))
    assert names
    assert names - set(exposed) - PROMETHEUS_OWN == set()
    for name, selector in re.findall(r"\b(chainwatch_\w+)\{([^}]*)\}", rule["expr"]):
        for label, value in re.findall(r'(\w+)="([^"]*)"', selector):
            assert value in {labels.get(label) for labels in exposed[name]}, f"{name} has no {label}={value}"


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r["alert"])
def test_every_alarm_says_how_urgent_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_every_alarm_is_tested_firing_silent_and_resolved() -> None:
    seen: dict[str, list[bool]] = defaultdict(list)
    for case in CASES:
        for check in case["alert_rule_test"]:
            seen[check["alertname"]].append(bool(check["exp_alerts"]))
    lacking = [r["alert"] for r in RULES if not _silent_firing_resolved(seen[r["alert"]])]
    assert lacking == []
    assert set(seen) == {r["alert"] for r in RULES}


def _silent_firing_resolved(fired: list[bool]) -> bool:
    return True in fired and not fired[-1] and not fired[0]


@pytest.mark.timeout(500)
def test_promtool_agrees() -> None:
    promtool = find_tool("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        ran = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=240)
        assert ran.returncode == 0, ran.stdout + ran.stderr
