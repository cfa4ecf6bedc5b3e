"""What happens around every request: an id, a time limit, problems for whatever goes wrong."""

import asyncio
import logging
import secrets
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from chainwatch.api.problems import Problem
from chainwatch.errors import ChainwatchError, Rejected, Transient

log = logging.getLogger(__name__)

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
STREAMS = frozenset({"text/event-stream"})
"""Content types asked for by ``Accept`` whose answers have no end: no time limit."""


def around(seconds: Callable[[], int]) -> Middleware:
    """Return the middleware.  ``seconds``: how long a request may take."""

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = secrets.token_hex(8)
        request[REQUEST_ID] = request_id
        try:
            if request.headers.get("Accept", "") in STREAMS:
                response = await handler(request)
            else:
                async with asyncio.timeout(seconds()):
                    response = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            problem = Problem(_CODES.get(error.status, "bad_request"), error.reason, status=error.status)
            if "Allow" in error.headers:
                problem.headers["Allow"] = error.headers["Allow"]
            response = problem.response(request_id)
        except Problem as problem:
            response = problem.response(request_id)
        except Rejected as error:
            response = Problem.of(error).response(request_id)
        except TimeoutError:
            response = Problem("timeout", "this took too long; try again").response(request_id)
        except Transient as error:
            log.warning("%s %s (%s): %s", request.method, _route(request), request_id, error)
            response = Problem("unavailable", "try again in a moment", headers={"Retry-After": "1"}).response(
                request_id
            )
        except ChainwatchError as error:
            log.error("%s %s (%s): %s", request.method, _route(request), request_id, error)
            response = Problem("internal", "this should not have happened").response(request_id)
        except Exception:
            log.exception("%s %s (%s)", request.method, _route(request), request_id)
            response = Problem("internal", "this should not have happened").response(request_id)
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return handle


def _route(request: web.Request) -> str:
    """The route's pattern: a path may hold a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(no route)"
