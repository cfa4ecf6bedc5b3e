"""Errors as RFC 9457 problem documents: a stable ``code``, and ``error`` for clients that read only that."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from chainwatch.errors import Rejected

PROBLEM = "application/problem+json"

STATUS: Mapping[str, int] = {
    "bad_request": 400,
    "bad_json": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "challenge_required": 401,
    "replayed": 401,
    "bad_signature": 401,
    "bad_challenge": 401,
    "expired": 401,
    "future": 401,
    "unknown_nonce": 401,
    "contract_chain": 403,
    "nothing_to_pay": 409,
    "approval_required": 403,
    "invite_required": 403,
    "bad_invite": 403,
    "signature_required": 401,
    "not_found": 404,
    "unknown_event": 404,
    "unknown_purchase": 404,
    "unknown_ticket": 404,
    "unknown_refund": 404,
    "unknown_export": 404,
    "unknown_payment": 404,
    "unknown_invite": 404,
    "unknown_device": 404,
    "unknown_webhook": 404,
    "unknown_delivery": 404,
    "method_not_allowed": 405,
    "not_premium": 403,
    "event_cancelled": 409,
    "event_over": 409,
    "event_exists": 409,
    "name_taken": 409,
    "idempotency_mismatch": 409,
    "idempotency_running": 409,
    "not_for_sale": 409,
    "sold_out": 409,
    "purchase_open": 409,
    "ticket_live": 409,
    "not_attended": 409,
    "wallet_limit": 409,
    "conflict": 409,
    "already_claimed": 409,
    "not_in_review": 409,
    "not_needed": 409,
    "decided_already": 409,
    "not_due": 409,
    "not_open": 409,
    "not_waiting": 409,
    "not_approved": 409,
    "same_operator": 403,
    "not_your_refund": 403,
    "nothing_to_export": 409,
    "refunds_first": 409,
    "frozen": 409,
    "changed_meanwhile": 409,
    "unknown_transaction": 404,
    "body_timeout": 408,
    "too_many_webhooks": 409,
    "webhook_disabled": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "too_many_requests": 429,
    "internal": 500,
    "no_address": 503,
    "no_rate": 503,
    "unavailable": 503,
    "stopping": 503,
    "timeout": 504,
}
"""HTTP status of a code; what is not here is 400: the request is wrong."""


class Problem(Exception):
    """An answer that is a problem.  ``more`` are members of the document beside the usual ones."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail or code)
        self.code, self.detail = code, detail or code.replace("_", " ")
        self.status = status or STATUS.get(code, 400)
        self.headers = dict(headers or {})
        self.more = more

    @classmethod
    def of(cls, error: Rejected) -> "Problem":
        """A domain's refusal, as it is."""
        return cls(error.code, str(error))

    def response(self, instance: str = "") -> web.Response:
        """The document.  ``instance``: the request's id."""
        document = {
            "type": "about:blank",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "code": self.code,
            "error": self.detail,
            "detail": self.detail,
            **({"instance": f"urn:request:{instance}"} if instance else {}),
            **self.more,
        }
        return web.Response(
            body=msgspec.json.encode(document), status=self.status, content_type=PROBLEM, headers=self.headers
        )
