"""The OpenAPI 3.1 document, made from the endpoints that are served."""

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.api import wire
from chainwatch.api.endpoints import Endpoint
from chainwatch.api.idempotency import HEADER as IDEMPOTENCY_KEY
from chainwatch.api.problems import PROBLEM, STATUS

REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{([a-z_]+)(?::[^}]*)?\}")

SECURITY: dict[str, dict[str, Any]] = {
    "operator": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "cwk_…",
        "description": "An operator's key (`chainwatch keys operator add`), with the scope that the route names.",
    },
    "creatorWrite": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "<signature>:<account>",
        "description": "A creator's Hive signature over the text of `GET /api/creators/challenge`, whose challenge "
        "goes back in `x-challenge`. It serves one request.",
    },
    "creatorRead": {
        "type": "apiKey",
        "in": "header",
        "name": "x-signature",
        "description": "A creator's Hive signature over `x-challenge` (Unix seconds as text), with `x-account` and "
        "`x-pubkey` beside it. Reads only.",
    },
    "device": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "cwd_…",
        "description": "The key of a door device of the event.",
    },
    "session": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The session token that a join gave.",
    },
}

PAGE = "text/html"

EVERYWHERE = ("bad_request", "too_many_requests", "internal", "unavailable", "stopping", "timeout")
"""Codes that any endpoint may answer."""


def _operations_route(name: str, summary: str, answers: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Describe a route of ``chainwatch.api.health``; ``answers``: status to what it means and its content type."""
    return {
        "get": {
            "operationId": f"get_{name}",
            "summary": summary,
            "tags": ["operations"],
            "responses": {
                status: {"description": text, "content": {kind: {"schema": _SCHEMA_OF[kind]}}}
                for status, (text, kind) in answers.items()
            },
        }
    }


_TEXT = "text/plain"
_SCHEMA_OF: Mapping[str, dict[str, Any]] = {wire.JSON: {"type": "object"}, _TEXT: {"type": "string"}}

OPERATIONS: Mapping[str, dict[str, Any]] = {
    "/healthz": _operations_route("healthz", "Is the process alive?", {"200": ("Alive", wire.JSON)}),
    "/readyz": _operations_route(
        "readyz",
        "Is every chain followed and the database writable? `parts` says what is missing",
        {"200": ("Ready", wire.JSON), "503": ("Not ready", wire.JSON)},
    ),
    "/metrics": _operations_route("metrics", "Prometheus metrics", {"200": ("Exposition text", _TEXT)}),
}
"""Routes of the server itself, which are no endpoints: no limit counts them, and they answer while it stops."""


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457.  ``code`` is stable; ``error`` says the same as ``detail``."""

    type: str
    title: str
    status: int
    code: str
    error: str
    detail: str
    instance: str | None = None


def document(endpoints: Sequence[Endpoint], server: str = "") -> dict[str, Any]:
    """Return the document.  ``server``: the public URL, when one is configured."""
    shown = [e for e in endpoints if e.documented]
    kinds = [ProblemDocument, *dict.fromkeys(t for e in shown for t in (e.body, e.answer) if t is not None)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    refs: Refs = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in shown:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, refs)
    paths |= OPERATIONS
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "chainwatch",
            "version": importlib.metadata.version("chainwatch"),
            "description": "Events, purchases paid on chain, tickets and the door. Amounts are strings: "
            "`amount_base` in base units, `amount` as people write it. Times are RFC 3339; a bare integer in a "
            "request is Unix milliseconds. Request fields may be camelCase. Errors are RFC 9457 problem documents.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": server or "/"}],
        "tags": [{"name": name} for name in dict.fromkeys((*(e.tag for e in shown), "operations"))],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SECURITY},
    }


Refs = Mapping[type, dict[str, Any]]
"""A type to the reference of its schema: two of one name in different modules are told apart."""


def _operation(endpoint: Endpoint, refs: Refs) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _name(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, refs),
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {wire.JSON: {"schema": refs[endpoint.body]}}}
    if security := _security(endpoint):
        operation["security"] = security
    if endpoint.who.scope:
        operation["description"] = f"An operator's key needs the scope `{endpoint.who.scope}`."
    return operation


def _name(endpoint: Endpoint) -> str:
    words = _PARAMETER.sub(r"by_\1", endpoint.path).replace("/api/", "/").strip("/")
    return f"{endpoint.method.lower()}_{re.sub(r'[^A-Za-z0-9]+', '_', words)}"


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(endpoint.path)
    ]
    if endpoint.query is not None:
        _, schemas = msgspec.json.schema_components([endpoint.query], ref_template=REF)
        schema = schemas[endpoint.query.__name__]
        required = schema.get("required", ())
        for name, value in schema["properties"].items():
            found.append({"name": name, "in": "query", "required": name in required, "schema": value})
    if endpoint.writes:
        text = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": IDEMPOTENCY_KEY, "in": "header", "required": False, "schema": text})
    if "creator" in endpoint.who.kinds:
        found.append({"name": "x-challenge", "in": "header", "required": False, "schema": {"type": "string"}})
        if endpoint.method == "GET":
            text = {"type": "string"}
            found += [{"name": n, "in": "header", "required": False, "schema": text} for n in ("x-account", "x-pubkey")]
    return found


def codes_of(endpoint: Endpoint) -> list[str]:
    """Return every code that the endpoint may answer."""
    codes = [*EVERYWHERE, *endpoint.problems]
    if endpoint.who.kinds != ("public",):
        codes += ["unauthorized", "forbidden"]
    if "creator" in endpoint.who.kinds:
        codes += ["expired", "bad_signature"]
        codes += [] if endpoint.method == "GET" else ["challenge_required", "bad_challenge", "replayed"]
    if endpoint.body is not None:
        codes += ["bad_json", "body_timeout", "too_large", "unsupported_media_type"]
    if endpoint.writes:
        codes += ["idempotency_mismatch", "idempotency_running"]
    return list(dict.fromkeys(codes))


def _responses(endpoint: Endpoint, refs: Refs) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done"}
    if endpoint.answer is not None:
        good["content"] = {endpoint.content_type: {"schema": refs[endpoint.answer]}}
    elif endpoint.content_type != wire.JSON:
        good["content"] = {endpoint.content_type: {"schema": {"type": "string"}}}
    by_status: dict[int, list[str]] = {}
    for code in codes_of(endpoint):
        status = endpoint.statuses.get(code) or STATUS.get(code, endpoint.refusal)
        by_status.setdefault(status, []).append(code)
    problem: dict[str, Any] = {PROBLEM: {"schema": refs[ProblemDocument]}}
    if endpoint.content_type == PAGE:  # a page says what went wrong to people
        problem[PAGE] = {"schema": {"type": "string"}}
    bad = {
        str(status): {"description": ", ".join(f"`{c}`" for c in sorted(named)), "content": problem}
        for status, named in sorted(by_status.items())
    }
    return {str(endpoint.status): good, **bad}


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    found: list[dict[str, list[str]]] = []
    for kind in endpoint.who.kinds:
        if kind == "creator":
            found.append({"creatorRead" if endpoint.method == "GET" else "creatorWrite": []})
        elif kind == "public":
            found.append({})
        else:
            found.append({kind: []})
    return found if endpoint.who.kinds != ("public",) else []
