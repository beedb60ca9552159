"""Pictures over HTTP: sent once, served by their content for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from io import BytesIO
from uuid import UUID

import pytest
from PIL import Image
from tests.edge.http_client import Answered, Client

from echain.edge.http import Caller, StoredIdempotency, application
from echain.infra.database import Database
from echain.kernel.cid import cid_of
from echain.kernel.ids import uuid7
from echain.kernel.time import utc_now
from echain.media import rest, service
from echain.media.pressing import Presses
from echain.media.types import Pressed, TooManyImages

NOW = utc_now()


def picture(colour: str = "red", width: int = 400) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, 300), colour).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
async def user(database: Database) -> UUID:
    user_id = uuid7()
    await database.execute("INSERT INTO users (id, created_at) VALUES ($1, $2)", user_id, NOW)
    return user_id


@pytest.fixture
def client(database: Database, user: UUID) -> Client:
    async def authenticate(headers: Mapping[str, str], _cookies: Mapping[str, str]) -> Caller | None:
        return Caller("user", user) if "authorization" in headers else None

    app = application(
        rest.endpoints(database, Presses()),
        authenticate=authenticate,
        clock=utc_now,
        idempotency=StoredIdempotency(database),
        title="echain",
        version="1",
    )
    return Client(app)


async def upload(client: Client, body: bytes) -> Answered:
    return await client("POST", "/api/v1/media", headers={"authorization": "Bearer me"}, body=body)


async def test_an_upload_is_served_in_all_its_variants_by_what_they_are(client: Client) -> None:
    sent = await upload(client, picture())
    assert sent.status == 201
    image = sent.data
    assert image["uri"] == f"ipfs://{image['variants'][-1]['cid']}"
    assert (image["width"], image["height"]) == (400, 300)
    for variant in image["variants"]:
        served = await client("GET", f"/ipfs/{variant['cid']}")
        assert served.status == 200
        assert str(cid_of(served.body)) == variant["cid"]
        assert len(served.body) == variant["bytes"]
        assert served.header("content-type") == f"image/{variant['format']}"
        assert served.header("content-security-policy") == "default-src 'none'; sandbox"
        assert served.header("x-content-type-options") == "nosniff"
        assert "immutable" in (served.header("cache-control") or "")
        etag = served.header("etag") or ""
        again = await client("GET", f"/ipfs/{variant['cid']}", headers={"if-none-match": etag})
        assert (again.status, again.body) == (304, b"")
        told = await client("GET", f"/api/v1/media/{variant['cid']}")
        assert told.data == image, "each variant leads to all"


async def test_the_same_picture_twice_takes_the_room_of_one(client: Client, database: Database) -> None:
    first, second = (await upload(client, picture())).data, (await upload(client, picture())).data
    assert first["variants"] == second["variants"]
    assert first["id"] != second["id"]
    assert await database.fetchval("SELECT count(*) FROM files") == len(first["variants"])


async def test_a_damaged_file_is_not_served(client: Client, database: Database) -> None:
    cid = (await upload(client, picture())).data["variants"][0]["cid"]
    await database.execute("UPDATE files SET content = content || '\\x00' WHERE cid = $1", cid)
    served = await client("GET", f"/ipfs/{cid}")
    assert (served.status, served.error["code"]) == (500, "media.damaged")


@pytest.mark.parametrize("path", ["/ipfs/", "/api/v1/media/"])
async def test_what_is_not_kept_is_not_found_and_what_is_no_name_is_refused(
    client: Client, path: str
) -> None:
    assert (await client("GET", path + str(cid_of(b"else")))).error["code"] == "media.not_found"
    refused = await client("GET", path + "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")
    assert (refused.status, refused.error["code"]) == (422, "request.invalid")


async def test_strangers_send_nothing_and_nobody_sends_more_than_may_be(client: Client) -> None:
    assert (await client("POST", "/api/v1/media", body=picture())).status == 401
    assert (await upload(client, bytes(12_000_001))).status == 413
    refused = await upload(client, b"no picture")
    assert (refused.status, refused.error["code"]) == (422, "media.unreadable")


async def test_a_user_sends_two_hundred_a_day_and_not_one_more_however_fast(
    database: Database, user: UUID
) -> None:
    await database.execute(
        """
        INSERT INTO images (id, user_id, width, height, created_at)
        SELECT gen_random_uuid(), $1, 1, 1, $2 FROM generate_series(1, 195)
        """,
        user,
        NOW - timedelta(hours=1),
    )

    async def keep(number: int) -> object:
        async with database.transaction() as tx:
            return await service.keep(tx, user, [Pressed("png", 1, 1, b"%d" % number)], now=NOW)

    outcomes = await asyncio.gather(*map(keep, range(12)), return_exceptions=True)
    assert sum(isinstance(outcome, TooManyImages) for outcome in outcomes) == 7, outcomes
    tomorrow = NOW + timedelta(days=2)
    async with database.transaction() as tx:
        assert await service.keep(tx, user, [Pressed("png", 1, 1, b"later")], now=tomorrow)
