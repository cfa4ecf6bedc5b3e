"""``/api/webhooks``: who is told what, and what became of it.  For operators.

Changing who is told, and every secret, needs the scope ``money``: whoever has a secret can feign a message that a
ticket was sold or a refund paid.  Looking needs ``read``.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from chainwatch.api import paging, wire
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, operator
from chainwatch.api.fields import row_id
from chainwatch.api.paging import Page
from chainwatch.ledger import deliveries, webhooks
from chainwatch.ledger.deliveries import Delivery
from chainwatch.ledger.webhooks import Changes, Webhook
from chainwatch.times import format_ms

MAX_TYPES = 32
HOUR_MS = 3_600_000

State = Literal["pending", "delivered", "dead"]
Types = Annotated[tuple[str, ...], Meta(max_length=MAX_TYPES)]


class NewWebhook(msgspec.Struct, forbid_unknown_fields=False):
    """An endpoint to make.  ``types``: message types, or ``*`` for all."""

    url: str
    types: Types = ("*",)
    description: str = ""


class WebhookChanges(msgspec.Struct):
    """What to change of an endpoint."""

    url: str | None = None
    types: Types | None = None
    description: str | None = None
    enabled: bool | None = None


class Rotation(msgspec.Struct):
    """How long the secret before signs too; 0 ends it at once."""

    overlap_hours: Annotated[int, Meta(ge=0, le=168)] = 24


class Redelivery(msgspec.Struct):
    """Which dead letters to send again: those that died at or after ``since``."""

    since: str | int | None = None


class DeliveriesQuery(Page, frozen=True, kw_only=True):
    """Which deliveries."""

    state: State | None = None


class WebhookView(msgspec.Struct, omit_defaults=True):
    """An endpoint.  ``secret`` only in the answers that make one or ask for it."""

    id: str
    url: str
    types: tuple[str, ...]
    description: str
    enabled: bool
    created_at: str | None
    disabled_at: str | None = None
    disabled_why: str = ""
    previous_secret_until: str | None = None
    secret: str | None = None


class WebhookList(msgspec.Struct):
    """All endpoints."""

    webhooks: list[WebhookView]


class Secret(msgspec.Struct):
    """What a receiver checks signatures with: ``whsec_`` and base64."""

    secret: str


class DeliveryView(msgspec.Struct):
    """One message to one endpoint."""

    id: str
    webhook_id: str
    message_id: str
    type: str
    state: str
    attempts: int
    created_at: str | None
    next_attempt_at: str | None
    ended_at: str | None
    last_status: int | None
    last_error: str


class DeliveryList(msgspec.Struct):
    """A page of deliveries, the newest first."""

    deliveries: list[DeliveryView]
    next_cursor: str | None = None


class Queued(msgspec.Struct):
    """The delivery that will be tried now."""

    delivery_id: str


class Counted(msgspec.Struct):
    """How many will be tried now."""

    redelivered: int


class Deleted(msgspec.Struct):
    """The endpoint is told nothing more."""

    deleted: bool = True


def _view(hook: Webhook, secret: str | None = None) -> WebhookView:
    return WebhookView(
        id=str(hook.id),
        url=hook.url,
        types=hook.types,
        description=hook.description,
        enabled=hook.disabled_ms is None,
        created_at=format_ms(hook.created_ms),
        disabled_at=format_ms(hook.disabled_ms),
        disabled_why=hook.disabled_why,
        previous_secret_until=format_ms(hook.previous_until_ms),
        secret=secret,
    )


def _delivery(d: Delivery) -> DeliveryView:
    return DeliveryView(
        id=str(d.id),
        webhook_id=str(d.webhook_id),
        message_id=d.message_id,
        type=d.type,
        state=d.state,
        attempts=d.attempts,
        created_at=format_ms(d.created_ms),
        next_attempt_at=format_ms(d.next_ms),
        ended_at=format_ms(d.done_ms),
        last_status=d.last_status,
        last_error=d.last_error,
    )


def _id(call: Call) -> int:
    return row_id(call.path["id"], "unknown_webhook")


async def _create(call: Call) -> WebhookView:
    body: NewWebhook = call.body
    private = call.backend.settings.webhooks.allow_private

    now_ms, issuer = call.now_ms, call.backend.issuer

    def write(connection: Connection) -> WebhookView:
        hook = webhooks.create(
            connection,
            body.url,
            body.types,
            now_ms=now_ms,
            actor=call.caller.actor,
            description=body.description,
            allow_private=private,
        )
        return _view(hook, hook.secrets(issuer, now_ms)[0])

    return await call.write(write)


async def _list(call: Call) -> WebhookList:
    return WebhookList([_view(hook) for hook in await call.backend.store.read(webhooks.listing)])


async def _get(call: Call) -> WebhookView:
    return _view(await call.backend.store.read(webhooks.find, _id(call)))


async def _change(call: Call) -> WebhookView:
    body: WebhookChanges = call.body
    hook_id, changes, now_ms = _id(call), Changes(body.url, body.types, body.description, body.enabled), call.now_ms
    private = call.backend.settings.webhooks.allow_private

    def write(connection: Connection) -> WebhookView:
        actor = call.caller.actor
        return _view(webhooks.change(connection, hook_id, changes, now_ms=now_ms, actor=actor, allow_private=private))

    return await call.write(write)


async def _delete(call: Call) -> Deleted:
    hook_id, now_ms = _id(call), call.now_ms

    def write(connection: Connection) -> Deleted:
        webhooks.remove(connection, hook_id, now_ms=now_ms, actor=call.caller.actor)
        return Deleted()

    return await call.write(write)


async def _secret(call: Call) -> Secret:
    hook = await call.backend.store.read(webhooks.find, _id(call))
    return Secret(hook.secrets(call.backend.issuer, call.now_ms)[0])


async def _rotate(call: Call) -> WebhookView:
    hook_id, overlap_ms, now_ms = _id(call), call.body.overlap_hours * HOUR_MS, call.now_ms

    def write(connection: Connection) -> WebhookView:
        hook = webhooks.rotate(connection, hook_id, now_ms=now_ms, actor=call.caller.actor, overlap_ms=overlap_ms)
        return _view(hook, hook.secrets(call.backend.issuer, now_ms)[0])

    return await call.write(write)


async def _test(call: Call) -> Queued:
    hook_id, now_ms = _id(call), call.now_ms
    return await call.write(lambda connection: Queued(str(deliveries.ping(connection, hook_id, now_ms))))


async def _page(call: Call, webhook_id: int | None, state: State | None) -> DeliveryList:
    query: Page = call.query
    before = paging.after_id(query) or None

    def read(connection: Connection) -> list[Delivery]:
        if webhook_id is not None:
            webhooks.find(connection, webhook_id)
        wanted = paging.wanted(query)
        return deliveries.listing(connection, webhook_id=webhook_id, state=state, before=before, limit=wanted)

    shown, more = paging.cut(await call.backend.store.read(read), query)
    return DeliveryList([_delivery(d) for d in shown], paging.cursor_of(shown[-1].id) if more else None)


async def _deliveries(call: Call) -> DeliveryList:
    return await _page(call, _id(call), call.query.state)


async def _dead_letters(call: Call) -> DeliveryList:
    return await _page(call, None, "dead")


async def _redeliver(call: Call) -> Queued:
    delivery_id, hook_id, now_ms = row_id(call.path["delivery"], "unknown_delivery"), _id(call), call.now_ms

    def write(connection: Connection) -> Queued:
        deliveries.redeliver(connection, hook_id, delivery_id, now_ms=now_ms, actor=call.caller.actor)
        return Queued(str(delivery_id))

    return await call.write(write)


async def _redeliver_dead(call: Call) -> Counted:
    since_ms, hook_id, now_ms = wire.time_ms(call.body.since, "since") or 0, _id(call), call.now_ms

    def write(connection: Connection) -> Counted:
        actor = call.caller.actor
        return Counted(deliveries.redeliver_dead(connection, hook_id, since_ms=since_ms, now_ms=now_ms, actor=actor))

    return await call.write(write)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return what this resource serves."""
    base, one = "/api/webhooks", "/api/webhooks/{id}"
    tag, may, look = "webhooks", operator("money"), operator("read")
    bad = ("bad_url", "bad_types", "bad_description")
    none = ("unknown_webhook",)
    off = (*none, "webhook_disabled")
    return [
        Endpoint(method="POST", path=base, handler=_create, summary="Make an endpoint; the answer holds its secret",
                 tag=tag, who=may, body=NewWebhook, answer=WebhookView, status=201, writes=True,
                 problems=(*bad, "too_many_webhooks")),
        Endpoint(method="GET", path=base, handler=_list, summary="All endpoints", tag=tag, who=look,
                 answer=WebhookList),
        Endpoint(method="GET", path=f"{base}/dead-letters", handler=_dead_letters,
                 summary="Messages that were given up, of all endpoints", tag=tag, who=look, query=Page,
                 answer=DeliveryList, problems=("bad_cursor",)),
        Endpoint(method="GET", path=one, handler=_get, summary="One endpoint", tag=tag, who=look,
                 answer=WebhookView, problems=none),
        Endpoint(method="PATCH", path=one, handler=_change, summary="Change an endpoint, disable or enable it",
                 tag=tag, who=may, body=WebhookChanges, answer=WebhookView, writes=True, problems=(*none, *bad)),
        Endpoint(method="DELETE", path=one, handler=_delete, summary="Delete an endpoint", tag=tag, who=may,
                 answer=Deleted, writes=True, problems=none),
        Endpoint(method="GET", path=f"{one}/secret", handler=_secret, summary="Its present secret", tag=tag,
                 who=operator("money", exact=True), answer=Secret, problems=none),
        Endpoint(method="POST", path=f"{one}/rotate", handler=_rotate,
                 summary="Make a new secret; the one before signs too for a while", tag=tag, who=may, body=Rotation,
                 answer=WebhookView, writes=True, problems=none),
        Endpoint(method="POST", path=f"{one}/test", handler=_test, summary="Send a test message", tag=tag, who=may,
                 answer=Queued, status=202, writes=True, problems=off),
        Endpoint(method="GET", path=f"{one}/deliveries", handler=_deliveries, summary="What became of its messages",
                 tag=tag, who=look, query=DeliveriesQuery, answer=DeliveryList, problems=(*none, "bad_cursor")),
        Endpoint(method="POST", path=f"{one}/deliveries/{{delivery}}/redeliver", handler=_redeliver,
                 summary="Send one message again", tag=tag, who=may, answer=Queued, status=202, writes=True,
                 problems=(*off, "unknown_delivery")),
        Endpoint(method="POST", path=f"{one}/redeliver", handler=_redeliver_dead,
                 summary="Send its dead letters again", tag=tag, who=may, body=Redelivery, answer=Counted, status=202,
                 writes=True, problems=off),
    ]  # fmt: skip
