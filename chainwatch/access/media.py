"""What a guest needs besides a ticket: the room's address, a relay for its sound and picture.  Pure.

coturn's time-limited credentials (draft-uberti-behave-turn-rest; ``use-auth-secret``): user name ``<expiry>:<name>``,
password HMAC-SHA1 over it in base64.  Expiries stand in slots of a sixth of their life, so that one ticket gets at most
six credentials an hour however often it joins, and the name is the ticket's pseudonym, which coturn's ``user-quota``
counts by.
"""

import base64
import hmac
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import jwt

from chainwatch.errors import Misconfigured

SLOTS = 6
MAX_TURN_S = 3600
"""A relay's credential lives at most an hour: it cannot be taken back."""
MIN_SECRET = 12
"""Characters of coturn's secret: fewer are guessed."""


def turn_credentials(
    secret: str, uris: Sequence[str], name: str, *, now_s: int, seconds: int, end_s: int | None
) -> dict[str, Any] | None:
    """``{username, credential, ttl, uris}``, valid for ``seconds`` at most and never past ``end_s``; None without uris.

    ``Misconfigured`` for a secret that everybody knows or guesses.
    """
    if not uris:
        return None
    if len(secret) < MIN_SECRET:
        raise Misconfigured("[access] turn_secret_file: the secret is too short")
    seconds = min(seconds, MAX_TURN_S)
    slot = max(1, seconds // SLOTS)
    expiry = (now_s // slot) * slot + seconds
    if end_s is not None:
        expiry = min(expiry, end_s)
    if expiry <= now_s:
        return None
    username = f"{expiry}:{name}"
    credential = base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()
    return {"username": username, "credential": credential, "ttl": expiry - now_s, "uris": list(uris)}


def websocket_url(template: str, event: str) -> str | None:
    """The room's address; None where none is configured."""
    return template.replace("{event_id}", quote(event, safe="")) if template else None


def livekit_token(keys: str, room: str, identity: str, *, now_s: int, expires_s: int) -> str:
    """A LiveKit access token (HS256 with the ``video`` grant) for one room.  ``keys``: ``<api key>:<api secret>``."""
    api_key, colon, secret = keys.strip().partition(":")
    if not colon or not api_key or len(secret) < 32:
        raise Misconfigured("[access] livekit_key_file: not <api key>:<api secret> of 32 characters and more")
    claims = {
        "iss": api_key,
        "sub": identity,
        "nbf": now_s - 5,
        "exp": expires_s,
        "video": {"room": room, "roomJoin": True, "canPublish": True, "canSubscribe": True, "canPublishData": True},
    }
    return jwt.encode(claims, secret, algorithm="HS256")
