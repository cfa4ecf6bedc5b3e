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
    ops_page,
    page_files,
    pay_page,
    payouts,
    purchases,
    refunds,
    review,
    shop_page,
    simulated_page,
    ticket_page,
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
    attendance.endpoints,
    tickets.endpoints,
    holders.endpoints,
    door.endpoints,
    devices.endpoints,
    creators.endpoints,
    review.endpoints,
    refunds.endpoints,
    payouts.endpoints,
    exports.endpoints,
    webhooks.endpoints,
    page_files.endpoints,
    shop_page.endpoints,
    pay_page.endpoints,
    ticket_page.endpoints,
    ops_page.endpoints,
    simulated_page.endpoints,
)


def endpoints(backend: Backend) -> list[Endpoint]:
    """Return what all resources serve, and the documentation of it."""
    served = [endpoint for resource in RESOURCES for endpoint in resource(backend)]
    return [*served, *docs.endpoints(lambda: served)]
