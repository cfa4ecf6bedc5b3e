"""Events: made and changed by operators and creators, listed for everybody."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from chainwatch.api import event_types as types
from chainwatch.api import paging
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, creator, operator
from chainwatch.api.event_types import Cancelled, ChangeEvent, CreateEvent, Event, Events, EventsQuery
from chainwatch.api.problems import Problem
from chainwatch.errors import Unreachable
from chainwatch.ledger import events, queries
from chainwatch.model import Asset

Act = Callable[[Connection, str, int, str], None]


async def create(call: Call) -> Event:
    """Make an event."""
    body: CreateEvent = call.body
    account, cap = body.creator_account, None
    if call.caller.kind == "creator":
        if account not in ("", call.caller.name):
            raise Problem("forbidden", "an event is made in the creator's own name")
        account, cap = call.caller.name, await _cap(call)
    assets = call.backend.assets()
    new = types.new_event(body, account, assets)
    bps, now_ms = call.backend.settings.tickets.commission_bps, call.now_ms

    def write(connection: Connection) -> Event:
        made = events.create(connection, new, assets, bps, now_ms, call.caller.actor, cap)
        return _read(connection, made, assets)

    return await call.write(write)


async def _cap(call: Call) -> int | None:
    """Return how many attendees the platform allows the creator (None: any); ``Problem`` when it allows none."""
    try:
        answer = await call.backend.premium.permission(call.backend.settings, call.caller.name)
    except Unreachable as error:
        raise Problem("unavailable", "the platform was not reached: try again", headers={"Retry-After": "5"}) from error
    if not answer.allowed:
        raise Problem("not_premium", answer.reason[:200] or "this account may not make events", status=403)
    return answer.max_attendees


async def listed(call: Call) -> Events:
    """List events by id."""
    query: EventsQuery = call.query
    wanted = types.filter_of(query, call.backend.assets(), call.now_ms)
    after = paging.after_id(query)

    def body(connection: Connection) -> tuple[list[Any], bool, dict[int, queries.Offer]]:
        rows, more = paging.cut(events.search(connection, wanted, paging.wanted(query), after), query)
        return rows, more, queries.offers_of(connection, [r.id for r in rows])

    rows, more, offers = await call.backend.store.read(body)
    answer = types.shown(rows, offers, call.backend.assets())
    return Events(answer, paging.cursor_of(rows[-1].id) if more else None)


async def show(call: Call) -> Event:
    """Return one event."""
    return await call.backend.store.read(_read, call.path["id"], call.backend.assets())


def _read(connection: Connection, public_id: str, assets: Mapping[str, Asset]) -> Event:
    row = events.find(connection, public_id)
    return types.event_of(row, queries.offers_of(connection, [row.id])[row.id], assets)


def own(connection: Connection, call: Call) -> None:
    """Refuse creators what is not theirs; ``Problem`` ``forbidden``."""
    if call.caller.kind == "creator":
        row = events.find(connection, call.path["id"])
        if row.creator_account != call.caller.name:
            raise Problem("forbidden", "this is another creator's event")


async def change(call: Call) -> Event:
    """Change an event."""
    assets, now_ms = call.backend.assets(), call.now_ms
    changes = types.changes(call.body, assets)
    cap = await _cap(call) if call.caller.kind == "creator" else None

    def body(connection: Connection) -> Event:
        own(connection, call)
        events.change(connection, call.path["id"], changes, assets, now_ms, call.caller.actor, cap)
        return _read(connection, call.path["id"], assets)

    return await call.write(body)


async def cancel(call: Call) -> Cancelled:
    """Cancel an event: every live ticket's refund falls due."""
    now_ms, backend = call.now_ms, call.backend

    def body(connection: Connection) -> Cancelled:
        own(connection, call)
        cancelled = events.cancel(connection, call.path["id"], backend.contexts, now_ms, call.caller.actor)
        return Cancelled(_read(connection, call.path["id"], backend.assets()), cancelled)

    return await call.write(body)


def _acting(act: Act) -> Any:
    async def handle(call: Call) -> Event:
        now_ms, assets = call.now_ms, call.backend.assets()

        def body(connection: Connection) -> Event:
            own(connection, call)
            act(connection, call.path["id"], now_ms, call.caller.actor)
            return _read(connection, call.path["id"], assets)

        return await call.write(body)

    return handle


def _settle_dispute(connection: Connection, public_id: str, now_ms: int, actor: str) -> None:
    events.dispute(connection, public_id, now_ms, actor, disputed=False)


_PATH = "/api/events/{id}"
_WRONG = (
    *("bad_title", "bad_description", "bad_capacity", "over_cap", "bad_times", "bad_time", "bad_policy", "bad_limit"),
    *("bad_tier", "bad_allotment", "bad_price", "unknown_currency"),
)


_COMMON: dict[str, Any] = {"tag": "events", "answer": Event}
_OWNER = creator("events")


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    making: dict[str, Any] = _COMMON | {"method": "POST", "handler": create, "who": _OWNER, "body": CreateEvent}
    making |= {
        "writes": True,
        "problems": ("event_exists", "bad_event_id", "not_premium", "challenge_required", *_WRONG),
    }
    return (
        Endpoint(path="/api/events/create", summary="Make an event", **making),
        Endpoint(path="/api/events", summary="Make an event (the same)", **making),
        Endpoint(
            method="GET",
            path="/api/events",
            handler=listed,
            summary="Events",
            tag="events",
            query=EventsQuery,
            answer=Events,
            problems=("bad_cursor", "bad_price", "bad_time"),
        ),
        Endpoint(method="GET", path=_PATH, handler=show, summary="One event", problems=("unknown_event",), **_COMMON),
        Endpoint(
            method="PATCH",
            path=_PATH,
            handler=change,
            summary="Change an event",
            who=_OWNER,
            body=ChangeEvent,
            writes=True,
            problems=("unknown_event", "event_cancelled", "not_premium", *_WRONG),
            **_COMMON,
        ),
        Endpoint(
            method="POST",
            path=f"{_PATH}/cancel",
            handler=cancel,
            summary="Cancel an event: every ticket's refund falls due",
            tag="events",
            who=creator("events", "active"),
            answer=Cancelled,
            writes=True,
            problems=("unknown_event", "chain_not_configured"),
        ),
        *_gate(),
    )


def _gate() -> Sequence[Endpoint]:
    """The live gate, and disputes: what acts on an event without a body."""
    acting: dict[str, Any] = _COMMON | {"method": "POST", "writes": True}
    return (
        Endpoint(
            path=f"{_PATH}/start",
            handler=_acting(events.start),
            summary="Open the live gate",
            who=_OWNER,
            problems=("unknown_event", "event_cancelled", "event_over"),
            **acting,
        ),
        Endpoint(
            path=f"{_PATH}/end",
            handler=_acting(events.end),
            summary="Close the live gate for good",
            who=_OWNER,
            problems=("unknown_event", "event_cancelled"),
            **acting,
        ),
        Endpoint(
            path=f"{_PATH}/dispute",
            handler=_acting(events.dispute),
            summary="Say that an event is in dispute: it pays nothing out",
            who=_OWNER,
            problems=("unknown_event",),
            **acting,
        ),
        Endpoint(
            path=f"{_PATH}/dispute/settle",
            handler=_acting(_settle_dispute),
            summary="Say that a dispute is over",
            who=operator("money"),  # never the creator that it is about
            problems=("unknown_event",),
            **acting,
        ),
    )
