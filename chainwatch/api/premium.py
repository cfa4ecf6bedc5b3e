"""May this account make events, and how large: the platform is asked (``[creators] authorize_url``).

The call is signed as a webhook is: ``{"type": "creator.authorize", "account": …}`` is answered with
``{"allowed": true, "max_attendees": 200}``.  Answers are kept for ``cache_seconds``.  No answer is no permission: the
creator is told to try again.
"""

import secrets
from collections import OrderedDict

import msgspec

from chainwatch import callouts
from chainwatch.clock import Clock
from chainwatch.config.settings import Settings
from chainwatch.errors import Unreachable

TIMEOUT_S = 5.0
"""A person waits for the form to be saved."""
MAX_CACHED = 10_000


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
        url, private = settings.creators.authorize_url, settings.webhooks.allow_private
        callouts.check_url(url, allow_private=private)
        body = msgspec.json.encode({"type": "creator.authorize", "account": account})
        message_id, now_s = f"msg_{secrets.token_hex(12)}", self._clock.now_ms() // 1000
        headers = {"Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(now_s)}
        if (secret := settings.keys.get("creators.authorize_secret")) is not None:
            headers["webhook-signature"] = callouts.signature(callouts.key_of(secret), message_id, now_s, body)
        async with callouts.session(allow_private=private, timeout_s=TIMEOUT_S) as client:
            status, raw = await callouts.post(client, url, body, headers)
        if status != 200:
            raise Unreachable(f"[creators] authorize_url answered {status}")
        try:
            return msgspec.json.decode(raw, type=Permission)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreachable("[creators] authorize_url answered something else") from error
