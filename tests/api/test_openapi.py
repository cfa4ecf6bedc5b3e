"""The document says what is served, and what is served never fails, whatever the document's own examples are turned
into (schemathesis)."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chainwatch.api import resources
from chainwatch.testing.callers import operator
from chainwatch.testing.served import served

SECONDS = 60
"""Of generated requests; more finds little more on two cores."""


async def document(tmp_path: Path) -> dict[str, Any]:
    async with served(tmp_path) as api:
        status, answer = await api.get("/openapi.json")
        assert status == 200
        made: dict[str, Any] = answer
        return made


async def test_every_route_of_every_resource_is_described(tmp_path: Path) -> None:
    described = await document(tmp_path)
    assert described["openapi"] == "3.1.0"
    async with served(tmp_path) as api:
        for endpoint in resources.endpoints(api.backend):
            path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", endpoint.path)
            if endpoint.documented:
                operation = described["paths"][path][endpoint.method.lower()]
                assert operation["summary"]
                assert str(endpoint.status) in operation["responses"]
            else:
                assert path not in described["paths"]


async def test_every_reference_leads_somewhere_and_every_security_scheme_is_there(tmp_path: Path) -> None:
    described = await document(tmp_path)
    text = str(described)
    for name in set(re.findall(r"#/components/schemas/([\w.-]+)", text)):
        assert name in described["components"]["schemas"]
    schemes = described["components"]["securitySchemes"]
    for operations in described["paths"].values():
        for operation in operations.values():
            assert {name for each in operation.get("security", ()) for name in each} <= set(schemes)
    ids = [o["operationId"] for operations in described["paths"].values() for o in operations.values()]
    assert len(ids) == len(set(ids))


async def test_the_page_comes_from_us_alone(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        async with api.session.get(f"{api.server.url}/docs") as response:
            page = await response.text()
            policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "http" not in re.sub(r"<!doctype[^>]*>", "", page)
        assert "<script>" not in page
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
            async with api.session.get(api.server.url + path) as response:
                assert response.status == 200, path
                assert len(await response.read()) > 50
        for path in ("/docs/..%2f__init__.py", "/docs/index.html", "/docs/swagger-ui.css.map"):
            assert (await api.get(path))[0] == 404


LIMITS = """
[http]
requests_per_minute = 1000000
purchases_per_minute = 1000000
access_per_minute = 1000000
access_per_minute_wallet = 1000000
request_seconds = 60
"""

REAL = """
[parameters]
"path.id" = "e0"

[[operations]]
include-path-regex = "/api/purchases/"
parameters = {{ "path.id" = "{purchase}" }}

[[operations]]
include-path-regex = "/api/(webhooks|refunds|exports|review)/"
parameters = {{ "path.id" = "1" }}
"""
"""Ids of things that are there, so that requests come further than ``unknown``."""


@pytest.mark.timeout(SECONDS * 10)
async def test_no_request_that_the_document_allows_or_forbids_makes_it_fail(tmp_path: Path) -> None:
    """Every operation, with data that fits and data that does not: no 5xx, and only answers that are described."""
    async with served(tmp_path, toml=LIMITS) as api:
        headers = await operator(api)
        body = {"id": "e0", "title": "E", "ticket_price": "1", "ticket_currency": "HIVE", "prices": {"ETH": "1"}}
        await api.post("/api/events", body, **headers)
        ask = {"event_id": "e0", "payment_method": "ETH", "wallet_address": "alice"}
        _, bought = await api.post("/api/events/purchase", ask)
        (tmp_path / "schemathesis.toml").write_text(REAL.format(purchase=bought["purchase_id"]))
        command = [
            *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(tmp_path / "schemathesis.toml")),
            *("run", f"{api.server.url}/openapi.json", "--no-color", "--continue-on-failure"),
            *("--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"),
            *("--checks", "status_code_conformance", "--phases", "coverage,fuzzing", "--mode", "all"),
            *("--max-examples", "15", "--seed", "7", "--workers", "1", "--request-timeout", "60"),
            *("--header", f"Authorization: {headers['Authorization']}", "--exclude-path-regex", "stream$"),
            *("--max-time", str(SECONDS)),
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0, said[-6000:]
