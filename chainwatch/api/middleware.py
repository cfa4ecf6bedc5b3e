"""What happens around every request: an id, an address, limits of time and number, problems for what goes wrong."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from chainwatch.api import cors
from chainwatch.api.addresses import client_address
from chainwatch.api.limits import Limits, Standing
from chainwatch.api.pages import render
from chainwatch.api.problems import Problem
from chainwatch.config.sections import Http
from chainwatch.errors import ChainwatchError, Rejected, Transient

log = logging.getLogger(__name__)

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
ADDRESS: web.RequestKey[str] = web.RequestKey("address", str)
"""The caller's network address, behind trusted proxies."""
STANDING: web.RequestKey[Standing | None] = web.RequestKey("standing")
"""How the caller stands with the tightest limit that this request took from."""

OPERATIONS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by machines of ours, also while stopping, and as often as they like."""

ENDLESS = "endless"
"""Attribute of handlers whose answers have no end (server-sent events): no time limit."""

APART = "apart"
"""Attribute of handlers whose requests are counted apart from all others (the door)."""

_PROCESS = secrets.token_hex(4)
_NUMBERS = itertools.count(1)
"""A request's id tells requests apart, also those of several processes; it need not be hard to guess."""

Stopping = Callable[[], bool]


def around(http: Callable[[], Http], limits: Limits, stopping: Stopping = lambda: False) -> Middleware:
    """Return the middleware.  ``http``: the settings in force."""

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = f"{_PROCESS}{next(_NUMBERS):08x}"
        request[REQUEST_ID] = request_id
        settings = http()
        request[ADDRESS] = client_address(request, settings.trusted_proxies)
        response = await _answered(request, handler, settings, limits, stopping)
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
            dress(response)
            if (standing := request.get(STANDING)) is not None:
                for name, value in standing.headers().items():
                    response.headers.setdefault(name, value)
            cors.mark(response, request.headers.get("Origin"), settings.cors_origins)
        return response

    return handle


def dress(response: web.StreamResponse) -> None:
    """Set the headers of every answer."""
    response.headers["Server"] = "chainwatch"
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")


async def _answered(
    request: web.Request, handler: Handler, settings: Http, limits: Limits, stopping: Stopping
) -> web.StreamResponse:
    request_id = request[REQUEST_ID]
    try:
        if request.path not in OPERATIONS:
            if stopping():
                headers = {"Retry-After": "5", "Connection": "close"}
                raise Problem("stopping", "this process ends; try again in a moment", headers=headers)
            if cors.is_preflight(request):
                return cors.preflight(request)
            if not _is(request, APART):
                request[STANDING] = limits.take("requests", "address", request[ADDRESS])
        if _is(request, ENDLESS):
            return await handler(request)
        async with asyncio.timeout(settings.request_seconds):
            return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            return error
        problem = Problem(_CODES.get(error.status, "bad_request"), error.reason, status=error.status)
        if "Allow" in error.headers:
            problem.headers["Allow"] = error.headers["Allow"]
        return _said(request, problem)
    except Problem as problem:
        return _said(request, problem)
    except Rejected as error:
        return _said(request, Problem.of(error))
    except TimeoutError:
        return _said(request, Problem("timeout", "this took too long; try again"))
    except Transient as error:
        log.warning("%s %s (%s): %s", request.method, route_of(request), request_id, error)
        return _said(request, Problem("unavailable", "try again in a moment", headers={"Retry-After": "1"}))
    except ChainwatchError as error:
        log.error("%s %s (%s): %s", request.method, route_of(request), request_id, error)
    except ConnectionError:
        raise  # the caller went away: there is nobody to answer
    except Exception:
        log.exception("%s %s (%s)", request.method, route_of(request), request_id)
    return _said(request, Problem("internal", "this should not have happened"))


def _said(request: web.Request, problem: Problem) -> web.Response:
    """A problem document; for a person who opened a page, a page."""
    if request.path.startswith("/api/") or "text/html" not in request.headers.get("Accept", ""):
        return problem.response(request[REQUEST_ID])
    title, detail = _FOR_PEOPLE.get(problem.status, ("That did not work", problem.detail))
    response = render.problem(problem.status, title, detail)
    response.headers.update(problem.headers)
    return response


_FOR_PEOPLE = {
    404: ("There is nothing here", "the address may be mistyped, or cut short"),
    429: ("Too many requests", "wait a minute, then load the page again"),
    500: ("Something is wrong here", "it was written down; try again later"),
    503: ("Not now", "try again in a moment"),
    504: ("This took too long", "try again in a moment"),
}
"""What a page says in place of the problem's words, which are for programs: title, detail."""


def _is(request: web.Request, what: str) -> bool:
    """Has the handler that the request goes to this attribute?"""
    handler: Any = request.match_info.handler
    return bool(getattr(handler, what, False))


def route_of(request: web.Request) -> str:
    """The route's pattern: a path may hold a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(no route)"
