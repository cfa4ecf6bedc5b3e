"""May this account make events, and how large: the platform is asked (``[creators] authorize_url``).

The call is signed as a webhook is: ``{"type": "creator.authorize", "account": …}`` is answered with
``{"allowed": true, "max_attendees": 200}``.  Answers are kept for ``cache_seconds``.  No answer is no permission: the
creator is told to try again.
"""

import base64
import secrets
from collections import OrderedDict

import aiohttp
import msgspec

from chainwatch import outbox, outside
from chainwatch.clock import Clock
from chainwatch.config.settings import Settings
from chainwatch.errors import Rejected, Unreachable

TIMEOUT_S = 5.0
"""A person waits for the form to be saved."""
MAX_CACHED = 10_000
MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read: yes or no and a number need a hundred."""


class Permission(msgspec.Struct, frozen=True):
    """The platform's answer.  ``max_attendees``: the largest capacity that the account may set; None: any."""

    allowed: bool
    max_attendees: int | None = None
    reason: str = ""


class Premium:
    """Asks the platform about accounts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Permission]] = OrderedDict()

    async def permission(self, settings: Settings, account: str) -> Permission:
        """Return what ``account`` may; ``Unreachable`` when the platform does not say."""
        creators = settings.creators
        if not creators.authorize_url:
            return Permission(False, reason="creators do not make events themselves here: ask the operator")
        kept = self._known.get(account)
        if kept is not None and self._clock.monotonic() - kept[0] < creators.cache_seconds:
            return kept[1]
        answer = await self._ask(settings, account)
        self._known[account] = (self._clock.monotonic(), answer)
        self._known.move_to_end(account)
        while len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        return answer

    async def _ask(self, settings: Settings, account: str) -> Permission:
        private = settings.webhooks.allow_private
        try:
            url = outside.check_url(settings.creators.authorize_url, allow_private=private)
        except Rejected as error:
            raise Unreachable(f"[creators] authorize_url: {error}") from error
        body = msgspec.json.encode({"type": "creator.authorize", "account": account})
        message_id = f"msg_{secrets.token_hex(12)}"
        known = settings.keys.get("creators.authorize_secret")
        headers = outbox.headers([_whsec(known)] if known else [], message_id, self._clock.now_ms(), body)
        connector = aiohttp.TCPConnector(
            resolver=outbox.PublicResolver(outbox.lookup, lambda: private), use_dns_cache=False
        )
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
                client.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                raw = await response.content.read(MAX_ANSWER)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"[creators] authorize_url: {type(error).__name__}") from error
        if status != 200:
            raise Unreachable(f"[creators] authorize_url answered {status}")
        try:
            return msgspec.json.decode(raw, type=Permission)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreachable("[creators] authorize_url answered something else") from error


def _whsec(secret: str) -> str:
    """Return a secret as Standard Webhooks writes it: ``whsec_`` and base64; any other text is taken as it is."""
    return secret if secret.startswith("whsec_") else "whsec_" + base64.b64encode(secret.encode()).decode()
