"""Flows inside flows, and a node that gets by without a service that is down.

    TakeOrder --> Payment --paid--> Fulfilment --> WriteEmail
                     |                                 ^
                     +-----------declined--------------+

    Payment     CheckTotal --> ChargeCard
    Fulfilment  ReserveStock --> Shipping
    Shipping    BookCourier --> PrintLabel

``BookCourier`` tries three times; the courier stays out of reach, so its ``exec_fallback``
sends the parcel by post. The last action of ``Payment`` is the action of the whole flow.

Run it:  python examples/order_pipeline.py
Or:      python examples/order_pipeline.py A-1002   (a card that the bank declines)
"""

import argparse
import json
from typing import Any

from pocketflow import Flow, Node

from call_llm import call_llm

PRICES = {"cup": 8.0, "teapot": 24.0}

ORDERS: dict[str, dict[str, Any]] = {
    "A-1001": {
        "customer": "Ada",
        "items": {"teapot": 1, "cup": 2},
        "card": {"holder": "Ada", "token": "tok_demo_accepted"},
    },
    "A-1002": {
        "customer": "Bruno",
        "items": {"cup": 6},
        "card": {"holder": "Bruno", "token": "tok_demo_declined"},
    },
}


class TakeOrder(Node):
    """Look the order up."""

    def prep(self, shared: dict[str, Any]) -> str:
        """Take the number of the order."""
        return shared["order_id"]

    def exec(self, order_id: str) -> dict[str, Any]:
        """Find the order."""
        return ORDERS[order_id]

    def post(self, shared: dict[str, Any], order_id: object, order: dict[str, Any]) -> None:
        """Keep it for everybody else."""
        shared["order"] = order


class CheckTotal(Node):
    """Work out what the order costs."""

    def prep(self, shared: dict[str, Any]) -> dict[str, int]:
        """Take the items."""
        return shared["order"]["items"]

    def exec(self, items: dict[str, int]) -> float:
        """Add the prices up, in euros."""
        return sum(PRICES[item] * count for item, count in items.items())

    def post(self, shared: dict[str, Any], items: object, total: float) -> None:
        """Keep the total."""
        shared["total"] = total


class ChargeCard(Node):
    """Ask the bank for the money."""

    def prep(self, shared: dict[str, Any]) -> tuple[dict[str, str], float]:
        """Take the card and the total."""
        return shared["order"]["card"], shared["total"]

    def exec(self, inputs: tuple[dict[str, str], float]) -> str:
        """Return what the bank says."""
        card, _total = inputs
        return "declined" if card["token"].endswith("declined") else "paid"

    def post(self, shared: dict[str, Any], inputs: object, status: str) -> str:
        """Say which way the whole Payment flow goes."""
        shared["status"] = status
        print(f"Payment of {shared['total']:.2f} euros: {status}")
        return status


class ReserveStock(Node):
    """Take the items off the shelf."""

    def prep(self, shared: dict[str, Any]) -> dict[str, int]:
        """Take the items."""
        return shared["order"]["items"]

    def post(self, shared: dict[str, Any], items: dict[str, int], exec_res: object) -> None:
        """Lower the stock in place."""
        for item, count in items.items():
            shared["stock"][item] -= count
        print(f"Stock left: {shared['stock']}")


class BookCourier(Node):
    """Book a courier, or fall back to the post."""

    def prep(self, shared: dict[str, Any]) -> str:
        """Take the number of the order."""
        return shared["order_id"]

    def exec(self, order_id: str) -> dict[str, Any]:
        """Ask the courier; this may fail."""
        print(f"Asking the courier (attempt {self.cur_retry + 1} of {self.max_retries})")
        return book_courier(order_id)

    def exec_fallback(self, order_id: str, exc: Exception) -> dict[str, Any]:
        """Answer in the courier's place after the last attempt."""
        print(f"No courier ({exc}), taking the post")
        return {"carrier": "post", "days": 5}

    def post(self, shared: dict[str, Any], order_id: object, delivery: dict[str, Any]) -> None:
        """Keep how the parcel travels."""
        shared["delivery"] = delivery


class PrintLabel(Node):
    """Print the label of the parcel."""

    def prep(self, shared: dict[str, Any]) -> tuple[str, str, str]:
        """Take what stands on the label."""
        return shared["order_id"], shared["order"]["customer"], shared["delivery"]["carrier"]

    def exec(self, inputs: tuple[str, str, str]) -> str:
        """Compose the label."""
        return " / ".join(inputs)

    def post(self, shared: dict[str, Any], inputs: object, label: str) -> None:
        """The parcel is on its way."""
        shared["label"] = label
        shared["status"] = "shipped"
        print(f"Label: {label}")


class WriteEmail(Node):
    """Tell the customer how it went."""

    def prep(self, shared: dict[str, Any]) -> dict[str, Any]:
        """Take what the customer should know, and nothing about the card."""
        items = shared["order"]["items"]
        return {
            "customer": shared["order"]["customer"],
            "items": " and ".join(f"{count} x {item}" for item, count in items.items()),
            "total": shared["total"],
            "status": shared["status"],
            "delivery": shared.get("delivery"),
        }

    def exec(self, facts: dict[str, Any]) -> str:
        """Let the model write the e-mail."""
        return call_llm(f"Write a short e-mail about this order.\n### ORDER\n{json.dumps(facts)}")

    def post(self, shared: dict[str, Any], facts: object, email: str) -> None:
        """Keep the e-mail."""
        shared["email"] = email
        print(f"E-mail: {email}")


class Payment(Flow):
    """Everything about money."""


class Shipping(Flow):
    """Everything about the parcel."""


class Fulfilment(Flow):
    """From the shelf to the door."""


def book_courier(order_id: str) -> dict[str, Any]:
    """Stand in for a courier's web service on a bad day."""
    raise ConnectionError(f"courier does not answer for {order_id}")


def build_payment() -> Flow:
    """Connect the steps of the payment."""
    check = CheckTotal()
    check >> ChargeCard()
    return Payment(start=check)


def build_fulfilment() -> Flow:
    """Connect the steps after the payment; Shipping is a flow inside this flow."""
    book = BookCourier(max_retries=3, wait=0.05)
    book >> PrintLabel()
    reserve = ReserveStock()
    reserve >> Shipping(start=book)
    return Fulfilment(start=reserve)


def build_flow() -> Flow:
    """Connect the flows as if they were nodes: they are."""
    take, payment, email = TakeOrder(), build_payment(), WriteEmail()
    take >> payment
    payment - "paid" >> build_fulfilment() >> email
    payment - "declined" >> email
    return Flow(start=take)


def main() -> None:
    """Process the order named on the command line."""
    parser = argparse.ArgumentParser(description="Process one order.")
    parser.add_argument("order_id", nargs="?", default="A-1001", choices=sorted(ORDERS))
    shared: dict[str, Any] = {
        "order_id": parser.parse_args().order_id,
        "stock": {"cup": 12, "teapot": 3},
    }
    build_flow().run(shared)


if __name__ == "__main__":
    main()
