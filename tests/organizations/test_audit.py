"""What changes in an organization stands in its own log: who did it, and no address that was invited."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.events.shop import Shop
from tests.organizations.agency import Agency, accept, agency, user_id

Entry = tuple[str, str, str, dict[str, Any]]


async def entries(shop: Shop, made: Agency) -> list[Entry]:
    """Return action, actor, resource and diff of an organization's entries, in their order."""
    said = (
        "SELECT position, action, actor_id, resource, diff::text AS diff FROM {} WHERE organization_id = $1"
    )
    rows = await shop.database.fetch(
        f"{said.format('audit_arrivals')} UNION ALL {said.format('audit_entries')} ORDER BY position",
        UUID(made.id),
    )
    return [(row["action"], row["actor_id"], row["resource"], row["diff"]) for row in rows]


async def test_each_change_is_written_down_with_who_did_it(shop: Shop) -> None:
    made = await agency(shop)
    founder, guest, heir = made.founder, await shop.person(), await shop.person()
    issued = (await made.invite(founder, "gate", email="grace@navy.example")).data
    await made.ask(founder, "DELETE", f"/invitations/{issued['id']}")
    token = await made.token("gate")
    await accept(guest, token)
    refused = await made.ask(guest, "PUT", "", {"name": "Mine"})
    assert refused.status == 403
    await made.join("manager", heir)
    ids = {"founder": await user_id(founder), "guest": await user_id(guest), "heir": await user_id(heir)}
    await made.ask(founder, "PUT", f"/members/{ids['guest']}", {"role": "finance"})
    await made.ask(founder, "PUT", "", {"name": "Harbour Days"})
    await made.ask(guest, "DELETE", f"/members/{ids['guest']}")
    await shop.anyone(
        "POST", "/api/v1/organizations/invitations/decline", json_body={"token": await made.token("gate")}
    )
    await made.ask(
        *(founder, "POST", "/owner", {"userId": ids["heir"]}),
        confirm=f"organization.hand_over:{ids['heir']}",
    )
    await made.ask(heir, "DELETE", f"/members/{ids['founder']}")
    await made.ask(heir, "DELETE", f"/wallets/{founder.text}")
    await made.ask(heir, "DELETE", confirm="organization.delete")
    written = await entries(shop, made)
    assert [entry[0] for entry in written] == [
        *("organization.created", "organization.wallet_added", "invitation.made", "invitation.revoked"),
        *("invitation.made", "invitation.accepted", "invitation.made", "invitation.accepted"),
        *("member.role_changed", "organization.renamed", "member.left", "invitation.made"),
        *("invitation.declined", "organization.handed_over", "member.removed"),
        *("organization.wallet_removed", "organization.deleted"),
    ]
    names = {value: key for key, value in ids.items()}
    assert [names.get(entry[1], entry[1]) for entry in written] == [
        *("founder", "founder", "founder", "founder", "founder", "guest", "founder", "heir"),
        *("founder", "founder", "guest", "founder", "", "founder", "heir", "heir", "heir"),
    ]
    by_action = {entry[0]: entry for entry in written}
    assert by_action["member.role_changed"][2] == f"user:{ids['guest']}"
    assert '"gate"' in by_action["member.role_changed"][3]
    assert '"finance"' in by_action["member.role_changed"][3]
    assert '"called"' in by_action["organization.renamed"][3]
    told = " ".join(str(entry) for entry in written)
    for secret in ("navy", "grace", "Harbour", token, issued["token"]):
        assert secret not in told


async def test_an_organization_that_a_draft_makes_is_written_down_too(shop: Shop) -> None:
    person = await shop.person()
    draft = await shop.draft(person)
    await shop.draft(person)
    written = await entries(shop, Agency(shop, draft["organizationId"], person))
    assert [entry[0] for entry in written] == [
        "organization.created",
        "event.draft_created",
        "event.draft_created",
    ]


async def test_what_is_refused_or_rolled_back_leaves_no_entry(shop: Shop) -> None:
    made = await agency(shop)
    before = await entries(shop, made)
    founder = await user_id(made.founder)
    assert (await made.ask(made.founder, "DELETE", f"/members/{founder}")).status == 409
    assert (await made.ask(await shop.person(), "PUT", "", {"name": "Mine"})).status == 404
    assert (await made.invite(made.founder, "admin")).status == 422
    assert await entries(shop, made) == before
