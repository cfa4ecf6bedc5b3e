"""What only a built-in network has: buyers that pay and sign when asked."""

from typing import Protocol


class Simulation(Protocol):
    """Simulated buyers (``chainwatch.devnet.storefront``)."""

    def wallet(self, asset: str) -> str:
        """Return the address of a new wallet on the asset's chain."""
        ...

    def sign(self, address: str, text: str) -> str | None:
        """Return the signature of a simulated wallet; None when the address is none of ours."""
        ...

    async def pay(self, purchase_id: str) -> None:
        """Pay what a purchase is still missing.  ``Rejected`` when nothing is to be paid."""
        ...

    async def join(self, token: str) -> str:
        """Come in with the wallet of a ticket, as its holder's software would; say what happened."""
        ...
