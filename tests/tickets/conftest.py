"""Tickets are tested in the same shop as events."""

from tests.events.conftest import shop, shop_node, shop_url

__all__ = ["shop", "shop_node", "shop_url"]
