"""Every resource of the API: a module below is served when it stands here."""

from collections.abc import Callable, Sequence

from chainwatch.api import webhooks
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Endpoint

RESOURCES: tuple[Callable[[Backend], Sequence[Endpoint]], ...] = (webhooks.endpoints,)


def endpoints(backend: Backend) -> list[Endpoint]:
    """Return what all resources serve."""
    return [endpoint for resource in RESOURCES for endpoint in resource(backend)]
