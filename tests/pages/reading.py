"""Pages as a browser reads them, without any script."""

from __future__ import annotations

from html.parser import HTMLParser

from tests.edge.http_client import Client
from tests.events.shop import PUBLIC_URL

from echain.edge.html import Site

SITE = Site(brand="echain", public_url=PUBLIC_URL, live_url="https://live.example")


class Tags(HTMLParser):
    """Collects a page's tags as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def parsed(page: str) -> list[tuple[str, dict[str, str]]]:
    tags = Tags()
    tags.feed(page)
    return tags.found


async def text(page: Client, target: str, **headers: str) -> str:
    answer = await page("GET", target, headers=headers)
    assert answer.status == 200, answer.body
    assert answer.header("content-type") == "text/html; charset=utf-8"
    return answer.body.decode()
