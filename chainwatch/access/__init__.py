"""What a wallet signs to come in, and who may."""

from chainwatch.access.message import AccessMessage, AccessPolicy, AccessReason, derive_nonce, nonce_is_ours

__all__ = ["AccessMessage", "AccessPolicy", "AccessReason", "derive_nonce", "nonce_is_ours"]
