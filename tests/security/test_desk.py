"""What administrators see and do besides: organizations, jobs, chains, the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.events.shop import Person
from tests.infra.relaying import running
from tests.security.tower import Tower, built, text

from echain.infra.jobs import GiveUp, JobKind, Queue, Run, Workers, enqueue
from echain.infra.metrics import Metrics
from echain.security.kinds import CONTRACTS

DESK = "/api/v1/admin"


class Note(msgspec.Struct, frozen=True):
    secret: str


BROKEN = JobKind("security_test.broken", Queue.MEDIA, Note)


async def give_up(_: Run[Note]) -> None:
    raise GiveUp("550 5.1.1 <ada.private@harbour.example>: no such user\nand more")


async def dead_letter(tower: Tower) -> int:
    async with tower.database.transaction() as tx:
        [job] = await enqueue(tx, BROKEN, [Note("hunter2")])
    workers = Workers(tower.town.url, tower.database, {BROKEN: give_up}, Metrics())
    async with running(workers.run()):
        await tower.town.quiet()
    return job


@pytest.fixture
async def resting(database_url: str) -> AsyncIterator[Tower]:
    """Without a worker, which would not know these jobs."""
    async with built(database_url, works=False) as tower:
        yield tower


async def test_dead_letters_are_shown_without_what_they_were_told_or_whose_address_it_was(
    resting: Tower,
) -> None:
    job = await dead_letter(resting)
    answer = await resting.boss.client("GET", f"{DESK}/jobs")
    [shown] = answer.data
    assert (shown["id"], shown["kind"], shown["queue"], shown["state"]) == (job, BROKEN.name, "media", "dead")
    assert shown["error"] == "GiveUp: 550 5.1.1 <•••>: no such user"
    for word in (b"hunter2", b"ada.private"):
        assert word not in answer.body
    queues = {one["queue"]: one["dead"] for one in (await resting.boss.client("GET", f"{DESK}/queues")).data}
    assert queues == {"sync": 0, "webhook": 0, "notification": 0, "media": 1, "chain": 0}
    assert (await resting.boss.client("GET", f"{DESK}/jobs?queue=chain")).data == []


async def test_a_dead_letter_is_retried_once_and_that_is_in_the_audit_log(resting: Tower) -> None:
    job = await dead_letter(resting)
    again = await resting.boss.client("POST", f"{DESK}/jobs/{job}/retry")
    assert (again.status, again.data) == (200, {"retried": 1})
    assert (await resting.boss.client("GET", f"{DESK}/jobs")).data == []
    [waits] = (await resting.boss.client("GET", f"{DESK}/jobs?state=waiting")).data
    assert waits["id"] == job
    alive = await resting.boss.client("POST", f"{DESK}/jobs/{job}/retry")
    assert (alive.status, alive.error["code"]) == (409, "jobs.not_dead")
    nothing = await resting.boss.client("POST", f"{DESK}/jobs/999999/retry")
    assert (nothing.status, nothing.error["code"]) == (404, "jobs.not_found")
    entries = (await resting.boss.client("GET", f"{DESK}/audit?action=job.")).data
    assert [(one["action"], one["resource"]) for one in entries] == [("job.retried", f"job:{job}")]


async def organization(tower: Tower, name: str) -> tuple[Person, str]:
    owner = await tower.shop.person()
    made = await owner.client("POST", "/api/v1/organizations", json_body={"name": name})
    assert made.status == 201, made.body
    return owner, made.data["id"]


async def test_organizations_are_found_by_name_and_shown_with_members_and_without_mail(inland: Tower) -> None:
    owner, harbour = await organization(inland, "Harbour Nights")
    await inland.town.confirm(owner, "owner.private@harbour.example")
    await organization(inland, "Mountain Days")
    listed = (await inland.boss.client("GET", f"{DESK}/organizations")).data
    assert {one["name"] for one in listed} == {"Harbour Nights", "Mountain Days"}
    [found] = (await inland.boss.client("GET", f"{DESK}/organizations?search=hARBOUR")).data
    assert (found["id"], found["members"], found["events"]) == (harbour, 1, 0)
    assert (await inland.boss.client("GET", f"{DESK}/organizations?search=%25")).data == []
    answer = await inland.boss.client("GET", f"{DESK}/organizations/{harbour}")
    assert [one["role"] for one in answer.data["people"]] == ["owner"]
    assert b"owner.private" not in answer.body
    gone = await inland.boss.client("GET", f"{DESK}/organizations/01890000-0000-7000-8000-000000000000")
    assert (gone.status, gone.error["code"]) == (404, "organizations.not_found")


async def test_organizations_come_in_parts(inland: Tower) -> None:
    names = [f"Organization {number}" for number in range(5)]
    for name in names:
        await organization(inland, name)
    first = await inland.boss.client("GET", f"{DESK}/organizations?limit=3")
    cursor = first.json["meta"]["page"]["nextCursor"]
    rest = await inland.boss.client("GET", f"{DESK}/organizations?limit=3&cursor={cursor}")
    assert [one["name"] for one in [*first.data, *rest.data]] == names[::-1]


async def test_chains_are_shown_with_their_nodes_and_what_the_factory_said(tower: Tower) -> None:
    tower.stage.mine(20)
    await tower.stage.follow()
    await tower.tick(CONTRACTS)
    [chain] = (await tower.boss.client("GET", f"{DESK}/chains")).data
    assert (chain["chainId"], chain["factory"]) == (84532, text(tower.stage.deployment.factory))
    assert chain["finalBlock"] < chain["indexedBlock"]
    assert (chain["seen"]["paused"], chain["seen"]["platform key is owner"]) == ("no", "yes")
    assert [node["status"] for node in chain["nodes"]] == ["ok"]
    assert "127.0.0.1" not in str(chain["seen"])


async def test_the_audit_log_of_all_is_shown_to_administrators(inland: Tower) -> None:
    owner, harbour = await organization(inland, "Harbour Nights")
    entries = (await inland.boss.client("GET", f"{DESK}/audit?action=organization.")).data
    assert {one["organizationId"] for one in entries} == {harbour}
    assert {one["actor"]["address"] for one in entries} == {owner.text}
    assert (await owner.client("GET", "/api/v1/auth/me")).status == 200
