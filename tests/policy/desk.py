"""What administrators see: somebody who is suspended, an alarm, a job that failed for good."""

from __future__ import annotations

from uuid import uuid4

from tests.policy.world import MISSING, Caller, Person, Thing, World

from echain.kernel.ids import uuid7
from echain.kernel.time import utc_now

HERE = "here"


async def furnish(made: World) -> None:
    """Give administrators one of everything that they decide about."""
    now = utc_now()
    granted = "0x" + "34" * 20
    await made.database.execute(
        "INSERT INTO platform_admins (address, granted_by, granted_at) VALUES ($1, $2, $3)",
        bytes.fromhex(granted[2:]),
        made.people["admin"].address,
        now,
    )
    alarm = uuid7()
    await made.database.execute(
        """
        INSERT INTO alarms (id, kind, severity, subject, facts, count, first_at, last_at, joins_until)
        VALUES ($1, 'refresh_reused', 2, 'somebody', '{}', 1, $2, $2, $2)
        """,
        alarm,
        now,
    )
    job = await made.database.fetchval(
        """
        INSERT INTO jobs.queue (priority, status, entrypoint, payload, attempts)
        VALUES (0, 'failed', 'notification', '{}', 3) RETURNING id
        """
    )
    suspended = made.people["suspended"]
    await confirmed(
        made,
        made.people["admin"],
        f"/api/v1/admin/users/{suspended.user_id}/suspend",
        "user.suspend",
        str(suspended.user_id),
    )
    for kind, parts, absent in (
        ("administrator", {"address": granted}, {"address": "0x" + "56" * 20}),
        ("user", {"id": str(made.people["attendee"].user_id)}, {"id": str(uuid4())}),
        ("suspended_user", {"id": str(suspended.user_id)}, {"id": str(uuid4())}),
        ("alarm", {"id": str(alarm)}, {"id": str(uuid7())}),
        ("dead_job", {"id": str(job)}, {"id": str(2**62)}),
    ):
        made.add(kind, HERE, Thing(parts, HERE))
        made.add(kind, MISSING, Thing(absent))


async def confirmed(made: World, person: Person, path: str, action: str, target: str) -> None:
    """Do something dangerous, with the signature that is asked for."""
    assert person.wallet is not None
    asked = await person.ask("POST", "/api/v1/auth/confirmations", {"action": action, "target": target})
    header = f"{asked['id']}:{person.wallet.sign(asked['message'])}"
    answer = await person.client("POST", path, headers={"echain-confirmation": header})
    assert answer.status == 200, answer.body


def suspended(made: World) -> Caller:
    """Return somebody whose session was good until an administrator suspended them."""
    token = made.people["suspended"].token
    return Caller("suspended user", {"authorization": f"Bearer {token}"}, refused="auth.token_invalid")
