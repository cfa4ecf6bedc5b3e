"""Every resource of the API: a module below is served when it stands here."""

from collections.abc import Callable, Sequence

from chainwatch.api import (
    access,
    attendance,
    creators,
    devices,
    docs,
    door,
    events,
    exports,
    guests,
    holders,
    payouts,
    purchases,
    refunds,
    review,
    tickets,
    webhooks,
)
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Endpoint

RESOURCES: tuple[Callable[[Backend], Sequence[Endpoint]], ...] = (
    events.endpoints,
    purchases.endpoints,
    guests.endpoints,
    access.endpoints,
    tickets.endpoints,
    holders.endpoints,
    attendance.endpoints,
    door.endpoints,
    devices.endpoints,
    creators.endpoints,
    refunds.endpoints,
    payouts.endpoints,
    exports.endpoints,
    review.endpoints,
    webhooks.endpoints,
)


def endpoints(backend: Backend) -> list[Endpoint]:
    """Return what all resources serve, and the documentation of it."""
    served = [endpoint for resource in RESOURCES for endpoint in resource(backend)]
    return [*served, *docs.endpoints(lambda: served)]
