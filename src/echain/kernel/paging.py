"""Pages with totals for short lists, cursors for long ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

import msgspec

T = TypeVar("T")

MAX_PER_PAGE = 100
MAX_PAGE = 10_000

PageNumber = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE, description="Page, from 1")]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=MAX_PER_PAGE, description="Items a page")]


class PageInfo(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where a page stands: by number with totals, or by the cursor of the next one."""

    per_page: int
    page: int | None = None
    total: int | None = None
    pages: int | None = None
    next_cursor: str | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items of a longer list, in order."""

    items: Sequence[T]
    info: PageInfo


def numbered(items: Sequence[T], *, page: int, per_page: int, total: int) -> Page[T]:
    """Return a page with totals; ``pages`` is at least 1."""
    return Page(
        items, PageInfo(per_page=per_page, page=page, total=total, pages=max(1, -(-total // per_page)))
    )
