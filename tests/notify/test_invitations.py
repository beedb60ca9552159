"""Invitations by mail: to the address that was named, while they are open, and their page."""

from __future__ import annotations

from tests.edge.http_client import Client
from tests.notify.town import Town, link
from tests.organizations.agency import accept, agency

ADA = "ada@x.example"


async def test_an_invitation_is_mailed_with_a_link_to_its_page(town: Town) -> None:
    made, guest = await agency(town.shop), await town.shop.person()
    await made.ask(made.founder, "PUT", "", {"name": "<b>Kino & Hof</b>"})
    token = await made.token("gate", email=ADA)
    await town.quiet()
    (letter,) = town.office.letters
    assert letter.recipient == ADA
    assert link(letter) == f"/invitation?token={token}"
    assert "<b>Kino & Hof</b>" in letter.part("text/plain")
    assert "&lt;b&gt;Kino &amp; Hof&lt;/b&gt;" in letter.part("text/html")
    page = await town.anyone("GET", link(letter))
    assert page.status == 200
    assert token.encode() in page.body
    assert b"&lt;b&gt;Kino &amp; Hof&lt;/b&gt;" in page.body
    assert page.header("cache-control") == "no-store"
    assert page.header("referrer-policy") == "no-referrer"
    assert (await accept(guest, token)).status == 200
    assert (await town.anyone("GET", link(letter))).status == 410


async def test_the_mail_is_in_the_language_that_was_asked_for(town: Town) -> None:
    made = await agency(town.shop)
    for language, subject in (("de", "Du bist eingeladen"), ("en-GB", "You are invited"), ("xx", "You are")):
        await made.token("manager", email=f"{language}@x.example", language=language)
        await town.quiet()
        letter = town.office.letters.pop()
        assert letter.parsed["Subject"].startswith(subject)
    page = await Client(town.app)("GET", link(letter), headers={"accept-language": "de"})
    assert "lädt dich als Manager ein" in page.body.decode()


async def test_whoever_holds_the_link_declines_it_by_the_button_and_opening_it_does_nothing(
    town: Town,
) -> None:
    made, guest = await agency(town.shop), await town.shop.person()
    token = await made.token("gate", email=ADA)
    for _ in range(2):
        assert (await town.anyone("GET", f"/invitation?token={token}")).status == 200
    pressed = await town.anyone("POST", f"/invitation?token={token}")
    assert pressed.status == 200
    assert b"declined" in pressed.body
    assert (await accept(guest, token)).status == 409
    assert (await town.anyone("POST", f"/invitation?token={token}")).status == 410
    unknown = await town.anyone("GET", "/invitation?token=eci_" + "A" * 43)
    assert (unknown.status, unknown.error["code"]) == (404, "organizations.invitation_unknown")


async def test_an_invitation_that_ended_before_its_mail_is_not_mailed(silent_town: Town) -> None:
    town = silent_town
    made = await agency(town.shop)
    for end in ("revoke", "decline", "expire"):
        issued = (await made.invite(made.founder, "gate", email=f"{end}@x.example")).data
        if end == "revoke":
            await made.ask(made.founder, "DELETE", f"/invitations/{issued['id']}")
        elif end == "decline":
            await town.anyone("POST", f"/invitation?token={issued['token']}")
        else:
            town.clock.pass_by(days=7)
    async with town.working():
        await town.quiet()
    assert town.office.letters == []
