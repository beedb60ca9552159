"""What may be published: the platform's rules and the contract's agree on every draft near their limits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from eth_abi.exceptions import EncodingError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echain.chain.chains import chain
from echain.chain.deploy import deploy
from echain.chain.keys import DEVNET_KEY, Key
from echain.chain.rpc import Rpc
from echain.events import rules
from echain.events.intents import creation_call
from echain.events.types import Document, DraftContent
from echain.infra.database import Database
from echain.infra.embedded.anvil import Anvil, RpcError
from echain.kernel.evm import Address, Hash32, checksum, to_hex
from echain.kernel.time import from_unix, rfc3339, utc_now

CHAIN_ID = 84532
DAY = 86_400


@pytest.fixture(scope="module")
def contract_world(shop_node: Anvil, shop_url: str) -> tuple[Anvil, Address]:
    """A node with the platform's contracts, and its factory."""

    async def stand() -> Address:
        database = await Database.connect(shop_url, size=3, name="deploy")
        rpc = Rpc([shop_node.url], chain_id=CHAIN_ID)
        try:
            deployment = await deploy(
                rpc, database, Key(DEVNET_KEY), chain(CHAIN_ID, devnet=True), now=utc_now()
            )
        finally:
            await rpc.close()
            await database.close()
        return deployment.factory

    return shop_node, asyncio.run(stand())


def around(*limits: int) -> list[int]:
    """Return each limit with what is next to it."""
    return [limit + step for limit in limits for step in (-1, 0, 1)]


TIER = {"priceWei": "5", "supply": 10, "maxPerPurchase": 5, "maxPerWallet": 0}
RULES = {"giftPolicy": "free", "maxGifts": 0, "giftsToContracts": True, "resaleCapBps": 0, "royaltyBps": 0}
CONTENT = {"title": "Gala", "starts": 5 * DAY, "ends": 9 * DAY, "maxTickets": 10}
"""Moments are seconds from now."""

OF_CONTENT: dict[str, list[Any]] = {
    "title": ["", "a" * 127, "a" * 128, "a" * 129, "é" * 64, "é" * 64 + "a", "é" * 65],
    "starts": around(0, 9 * DAY),
    "ends": around(5 * DAY, 3650 * DAY),
    "maxTickets": around(0, 2**32 - 2),
}
OF_TIERS: dict[str, list[Any]] = {
    "priceWei": ["0", str(2**96 - 1), str(2**96), str(2**96 + 1)],
    "supply": around(0, 2**32),
    "maxPerPurchase": around(0, 50),
    "maxPerWallet": around(0, 255),
    "saleStart": around(-DAY, 5 * DAY, 9 * DAY),
    "saleEnd": around(-DAY, 5 * DAY, 9 * DAY),
}
OF_RULES: dict[str, list[Any]] = {
    "giftPolicy": ["free", "limited", "forbidden"],
    "maxGifts": around(0, 255),
    "resaleCapBps": around(0, 10_000, 65_535),
    "royaltyBps": around(0, 2_000),
}
Changes = dict[str, Any]


def drawn_with(content: Changes, tiers: list[Changes], limits: Changes) -> dict[str, Any]:
    """Return good content with these changes, and as many tiers as there are changes of tiers."""
    changed = {"tiers": [{**TIER, **tier} for tier in tiers], "rules": {**RULES, **limits}}
    return {**CONTENT, **content, **changed}


def some(fields: dict[str, list[Any]]) -> st.SearchStrategy[Changes]:
    """Return values near their limits for at most two fields; with more, hardly any draft is good."""
    names = st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: st.sampled_from(fields[name]) for name in chosen})
    )


CONTENTS = st.builds(
    drawn_with, some(OF_CONTENT), st.lists(some(OF_TIERS), min_size=1, max_size=2), some(OF_RULES)
)


def spelled(drawn: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return drawn content as a request's body, with moments from seconds after ``now``."""

    def moment(seconds: int) -> str:
        return rfc3339(now + timedelta(seconds=seconds))

    tiers = [
        {
            **tier,
            "name": f"Tier {place}",
            **{name: moment(tier[name]) for name in ("saleStart", "saleEnd") if name in tier},
        }
        for place, tier in enumerate(drawn["tiers"])
    ]
    rest = {name: drawn[name] for name in ("title", "maxTickets", "rules")}
    times = {"startTime": moment(drawn["starts"]), "endTime": moment(drawn["ends"])}
    return {"chainId": CHAIN_ID, **rest, **times, "tiers": tiers}


def platform_takes(body: dict[str, Any], now: datetime) -> bool:
    try:
        content = msgspec.convert(body, DraftContent)
    except msgspec.ValidationError:
        return False
    return not list(rules.problems(content, now=now, chain_ids=[CHAIN_ID], zones=()))


def contract_takes(node: Anvil, factory: Address, body: dict[str, Any]) -> bool:
    """Return whether the contract would create this event, whatever the platform's types say of it."""
    unchecked = _unchecked(body)
    try:
        data = creation_call(unchecked, Document(Hash32(bytes(32)), b""), "https://tickets.example/m")
        node.rpc(
            "eth_call", {"from": checksum(factory), "to": checksum(factory), "data": to_hex(data)}, "latest"
        )
    except (EncodingError, RpcError):
        return False
    return True


def _unchecked(body: dict[str, Any]) -> DraftContent:
    good = {
        "chainId": CHAIN_ID,
        "title": "x",
        "startTime": body["startTime"],
        "endTime": body["endTime"],
        "tiers": [{"name": "x", "priceWei": "0", "supply": 1}],
    }
    template = msgspec.convert(good, DraftContent)
    tiers = [
        msgspec.structs.replace(
            template.tiers[0],
            price_wei=tier["priceWei"],
            supply=tier["supply"],
            max_per_purchase=tier["maxPerPurchase"],
            max_per_wallet=tier["maxPerWallet"],
            sale_start=datetime.fromisoformat(tier["saleStart"]) if "saleStart" in tier else None,
            sale_end=datetime.fromisoformat(tier["saleEnd"]) if "saleEnd" in tier else None,
        )
        for tier in body["tiers"]
    ]
    limits = body["rules"]
    return msgspec.structs.replace(
        template,
        title=body["title"],
        tiers=tiers,
        max_tickets=body["maxTickets"],
        rules=msgspec.structs.replace(
            template.rules,
            gift_policy=limits["giftPolicy"],
            max_gifts=limits["maxGifts"],
            gifts_to_contracts=limits["giftsToContracts"],
            resale_cap_bps=limits["resaleCapBps"],
            royalty_bps=limits["royaltyBps"],
        ),
    )


def agree(world: tuple[Anvil, Address], drawn: dict[str, Any]) -> bool:
    """Return whether both take this content, after making sure that both say the same."""
    node, factory = world
    now = from_unix(int(node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16))
    body = spelled(drawn, now)
    taken = contract_takes(node, factory, body)
    assert platform_takes(body, now) == taken, body
    return taken


def test_at_each_limit_the_platform_says_what_the_contract_says(
    contract_world: tuple[Anvil, Address],
) -> None:
    verdicts = [agree(contract_world, drawn_with({}, [{}] * count, {})) for count in (0, 1, 20, 21)]
    assert verdicts == [False, True, True, False]
    for name, values in OF_CONTENT.items():
        verdicts += [agree(contract_world, drawn_with({name: value}, [{}], {})) for value in values]
    for name, values in OF_TIERS.items():
        verdicts += [agree(contract_world, drawn_with({}, [{}, {name: value}], {})) for value in values]
    for policy in OF_RULES["giftPolicy"]:
        for name, values in OF_RULES.items():
            changes = [{"giftPolicy": policy, name: value} for value in values]
            verdicts += [agree(contract_world, drawn_with({}, [{}], change)) for change in changes]
    assert verdicts.count(True) > 20
    assert verdicts.count(False) > 20


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=CONTENTS)
def test_whatever_limits_meet_the_platform_says_what_the_contract_says(
    contract_world: tuple[Anvil, Address], drawn: dict[str, Any]
) -> None:
    agree(contract_world, drawn)


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(  # noqa: DTZ001 - the zone comes next
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(
    cancelled=st.booleans(), left=st.integers(0, 3), opens=st.none() | MOMENTS, closes=MOMENTS, now=MOMENTS
)
def test_a_tier_is_on_sale_exactly_when_nothing_speaks_against_it(
    cancelled: bool, left: int, opens: datetime | None, closes: datetime, now: datetime
) -> None:
    state = rules.sale_state(cancelled=cancelled, left=left, opens_at=opens, closes_at=closes, now=now)
    open_now = (opens is None or opens <= now) and now < closes
    assert (state == "on_sale") == (not cancelled and left > 0 and open_now)
    assert (state == "cancelled") == cancelled


@given(
    supply=st.integers(0, 2**63 - 1),
    sold=st.integers(0, 2**63 - 1),
    maximum=st.integers(0, 2**63 - 1),
    sold_in_all=st.integers(0, 2**63 - 1),
)
def test_what_is_left_is_never_negative_nor_more_than_either_limit_leaves(
    supply: int, sold: int, maximum: int, sold_in_all: int
) -> None:
    left = rules.remaining(supply=supply, sold=sold, max_tickets=maximum, sold_tickets=sold_in_all)
    assert left >= 0
    assert left == 0 or (left <= supply - sold and left <= maximum - sold_in_all)
