"""The shop with its pages."""

from tests.events.conftest import shop, shop_node, shop_url

__all__ = ["shop", "shop_node", "shop_url"]
