"""The shop of the events' tests, whose people work together here."""

from tests.events.conftest import shop, shop_node, shop_url

_FIXTURES = (shop, shop_node, shop_url)
"""Found by pytest under their names here."""
