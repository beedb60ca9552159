"""What `docs/organizations.md` says of roles, bounds and signatures is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from echain.accounts.rules import ACTIONS
from echain.kernel.errors import Invalid
from echain.organizations import rules
from echain.organizations.types import Permission, Role

PAGE = (Path(__file__).parent.parent.parent / "docs" / "organizations.md").read_text()


def test_the_table_of_roles_is_the_one_that_is_kept() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|[^|]*\|$", PAGE, re.MULTILINE)
    said = {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}
    assert list(said) == [permission.value for permission in Permission]
    header = next(line for line in PAGE.splitlines() if line.startswith("| permission"))
    assert [cell.strip() for cell in header.split("|")[2:6]] == [role.value for role in Role]
    for permission in Permission:
        kept = ["yes" if rules.allows(role, permission) else "" for role in Role]
        assert said[permission] == kept, permission


def test_nobody_may_give_what_they_do_not_have() -> None:
    for role in Role:
        for other in rules.STAFFS[role]:
            assert rules.GRANTS[other] <= rules.GRANTS[role], (role, other)
        may_invite = bool(rules.STAFFS[role])
        assert may_invite == rules.allows(role, Permission.GATE_STAFF), role
        assert (rules.STAFFS[role] == frozenset(Role)) == rules.allows(role, Permission.MEMBERS), role


def test_its_bounds_and_signatures_are_those_of_the_program() -> None:
    for bound, words in (
        (rules.MOST_OPEN, "{} open"),
        (rules.INVITATIONS_A_DAY, "{} a day of one organization"),
        (rules.MAILS_A_DAY, "of which {} by mail"),
        (rules.MAILS_TO_ONE_A_DAY, "{} mails a day to one address"),
        (rules.MOST_MEMBERS, "{} members"),
        (rules.MOST_ORGANIZATIONS, "{} organizations of one user"),
        (rules.MOST_WALLETS, "an organization has {} at most"),
    ):
        assert words.format(bound) in " ".join(PAGE.split()), words
    assert rules.INVITATION_LIFE.days == 7
    assert set(re.findall(r"`(organization\.\w+)`", PAGE)) == {
        action for action in ACTIONS if action.startswith("organization.")
    }


@pytest.mark.parametrize(
    ("email", "hint"),
    [("ada@x.example", "a…@….example"), ("a@b.co", "a…@….co"), ("x.y+z@long.sub.example.org", "x…@….org")],
)
def test_a_hint_says_no_more_than_reminds(email: str, hint: str) -> None:
    assert rules.hint_of(email) == hint


def test_a_name_is_put_into_one_form() -> None:
    assert rules.name_of(" e\u0301  x\t") == "é x"
    with pytest.raises(Invalid, match="piles marks"):
        rules.name_of("a\u0331\u0332\u0333")
