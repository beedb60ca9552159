"""An alarm: raised once a cause whatever dies, told to administrators, listed, acknowledged, forgotten."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import structlog
from tests.accounts.people import SAFARI, Wallet
from tests.security.tower import AUDIT_KEYS, Tower, built
from tests.security.watchman import BOSS

from echain.accounts import store as accounts_store
from echain.infra.audit import SYSTEM, record
from echain.infra.database import Database
from echain.infra.messagestore import Relayed
from echain.infra.outbox import publish
from echain.kernel.evm import Address, checksum
from echain.kernel.ids import uuid7
from echain.kernel.messages import Message
from echain.kernel.time import utc_now
from echain.security import rules, service
from echain.security.hearing import Hearing
from echain.security.kinds import AUDIT, SWEEP
from echain.security.types import AlarmKind, Cause, Severity

PROGRAM = Path(__file__).parent / "watchman.py"
ALARMS = "/api/v1/admin/alarms"


async def suspect(tower: Tower, *causes: Cause) -> None:
    async with tower.database.transaction() as tx:
        await service.suspect(tx, causes)
    await tower.town.quiet()


def cause(tower: Tower, number: int = 1, **changes: object) -> Cause:
    fields: dict[str, object] = {
        "kind": AlarmKind.BALANCE_DRIFT,
        "subject": "chain 1 contract 0xab",
        "name": f"drift {number}",
        "facts": {"balance": str(number)},
        "at": tower.clock(),
        **changes,
    }
    return Cause(**fields)  # type: ignore[arg-type]


# --- what becomes one ---


async def test_causes_of_one_kind_and_subject_are_one_alarm_for_a_while(inland: Tower) -> None:
    await suspect(inland, *(cause(inland, number) for number in range(1, 31)))
    [alarm] = await inland.alarms()
    assert alarm["count"] == 30
    assert len(await inland.messages()) == len(await inland.inbox()) == len(inland.mails()) == 1
    assert inland.counted("balance_drift") == 1
    inland.clock.pass_by(days=1, minutes=1)
    await suspect(inland, cause(inland, 31))
    assert [one["count"] for one in await inland.alarms()] == [30, 1]
    assert len(inland.mails()) == 2


async def test_other_subjects_and_kinds_are_alarms_of_their_own(inland: Tower) -> None:
    await suspect(
        inland,
        cause(inland, 1),
        cause(inland, 2, subject="another"),
        cause(inland, 3, kind=AlarmKind.BALANCE_SURPLUS),
    )
    assert [one["count"] for one in await inland.alarms()] == [1, 1, 1]


async def test_the_same_cause_counts_once_however_often_it_is_told(inland: Tower) -> None:
    same = cause(inland)
    for _ in range(3):
        await suspect(inland, same, same)
    inland.clock.pass_by(days=3)
    await suspect(inland, same)
    [alarm] = await inland.alarms()
    assert alarm["count"] == 1


async def test_an_alarm_that_gets_worse_is_told_again_and_mailed(inland: Tower) -> None:
    await suspect(inland, cause(inland, 1, severity=Severity.WARNING))
    assert (len(await inland.inbox()), inland.mails()) == (1, [])
    await suspect(
        inland, cause(inland, 2, severity=Severity.SEVERE), cause(inland, 3, severity=Severity.NOTICE)
    )
    [alarm] = await inland.alarms()
    assert (alarm["severity"], alarm["count"]) == ("severe", 3)
    assert (len(await inland.inbox()), len(inland.mails())) == (2, 1)
    assert [one["severity"] for one in await inland.messages()] == ["warning", "severe"]


async def test_a_cause_that_was_overtaken_joins_the_alarm_of_those_that_came_first(inland: Tower) -> None:
    await suspect(inland, cause(inland, 1))
    await suspect(inland, cause(inland, 2, at=inland.clock() - timedelta(minutes=5)))
    assert [one["count"] for one in await inland.alarms()] == [2]


async def test_many_causes_at_once_by_several_workers_are_one_alarm(database_url: str) -> None:
    async with built(database_url, mail=False) as tower, tower.working(), tower.working():
        causes = [cause(tower, number) for number in range(200)]
        await asyncio.gather(*(suspect(tower, *causes[at : at + 20]) for at in range(0, 200, 20)))
        [alarm] = await tower.alarms()
        assert alarm["count"] == 200
        assert len(await tower.messages()) == 1


# --- who is told ---


async def test_all_administrators_are_told_and_nobody_else(inland: Tower) -> None:
    ada, bo = await inland.person(), await inland.person()
    await inland.appoint(inland.boss, ada.text)
    await inland.town.quiet()
    await suspect(inland, cause(inland))

    async def told(person: object) -> list[str]:
        inbox = await inland.town.inbox(person)  # type: ignore[arg-type]
        return [one["title"] for one in inbox if one["kind"] == "alarm"]

    assert "Alarm: Balance drift" in await told(ada)
    assert "Alarm: Balance drift" in await told(inland.boss)
    assert await told(bo) == []


async def test_the_mail_says_what_it_is_about_and_only_severe_alarms_are_mailed(inland: Tower) -> None:
    await suspect(
        inland,
        cause(inland, 1, kind=AlarmKind.HIGH_VALUE),
        cause(inland, 2, kind=AlarmKind.BALANCE_SURPLUS),
        cause(inland, 3, facts={"expected": "10", "balance": "7"}),
    )
    assert len(await inland.inbox()) == 3
    [mail] = inland.mails()
    assert (mail.recipient, mail.parsed["Subject"]) == ("admin@harbour.example", "Alarm: Balance drift")
    assert "chain 1 contract 0xab: expected 10, balance 7" in mail.part("text/plain")


async def test_administrators_choose_how_they_are_told(inland: Tower) -> None:
    await inland.town.choose(inland.boss, kinds={"alarm": {"email": False}}, language="de")
    await suspect(inland, cause(inland))
    assert inland.mails() == []
    [told] = await inland.inbox()
    assert told["title"] == "Alarm: Guthaben stimmt nicht"
    await inland.town.choose(inland.boss, kinds={"alarm": {"inApp": False}})
    await suspect(inland, cause(inland, 2, subject="another"))
    assert len(await inland.alarms()) == 2, "the desk shows it whatever they chose"


async def test_preferences_without_the_kind_of_alarms_are_taken_as_before(inland: Tower) -> None:
    person = await inland.person()
    path = "/me/notification-preferences"
    now = await inland.town.ask(person, "GET", path)
    kinds = {kind: ways for kind, ways in now["kinds"].items() if kind != "alarm"}
    wanted = {"language": "en", "timeZone": None, "digest": "off", "kinds": kinds}
    kept = await inland.town.ask(person, "PUT", path, wanted)
    assert kept["kinds"]["alarm"] == {"inApp": True, "email": True, "push": True}


async def test_an_alarm_is_a_line_in_the_log_with_its_facts(inland: Tower) -> None:
    with structlog.testing.capture_logs() as lines:
        await suspect(inland, cause(inland, 7), cause(inland, 8))
    [line] = [one for one in lines if one["event"] == "security.alarm"]
    [alarm] = await inland.alarms()
    assert (line["log_level"], line["kind"], line["severity"], line["alarm"]) == (
        *("error", "balance_drift", "severe"),
        alarm["id"],
    )
    assert line["subject"] == "chain 1 contract 0xab"
    assert line["facts"]["balance"] in ("7", "8")


async def test_every_kind_of_alarm_stands_at_zero_before_the_first(inland: Tower) -> None:
    assert {kind: inland.counted(kind) for kind in AlarmKind} == dict.fromkeys(AlarmKind, 0)
    assert set(rules.SEVERITIES) == set(rules.JOINED_FOR) == set(AlarmKind)


# --- what is done about it ---


async def test_acknowledging_is_noted_once_and_in_the_audit_log(inland: Tower) -> None:
    await suspect(inland, cause(inland))
    [alarm] = await inland.alarms("?open=true")
    path = f"{ALARMS}/{alarm['id']}/acknowledge"
    done = await inland.boss.client("POST", path)
    assert done.status == 200
    assert done.data["acknowledgedBy"] == (await inland.boss.client("GET", "/api/v1/auth/me")).data["userId"]
    again = await inland.boss.client("POST", path)
    assert (again.status, again.error["code"]) == (409, "security.already_acknowledged")
    assert await inland.alarms("?open=true") == []
    assert len(await inland.alarms("?open=false")) == 1
    [entry] = (await inland.boss.client("GET", "/api/v1/admin/audit?action=alarm.")).data
    assert (entry["action"], entry["resource"]) == ("alarm.acknowledged", f"alarm:{alarm['id']}")


async def test_of_many_who_acknowledge_at_once_one_does(inland: Tower) -> None:
    await suspect(inland, cause(inland))
    [alarm] = await inland.alarms()
    path = f"{ALARMS}/{alarm['id']}/acknowledge"
    answers = await asyncio.gather(*(inland.boss.client("POST", path) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200, *[409] * 7]


async def test_alarms_are_found_by_kind_and_severity_and_come_in_parts(inland: Tower) -> None:
    for number in range(5):
        await suspect(inland, cause(inland, number, subject=f"contract {number}"))
    await suspect(inland, cause(inland, 9, kind=AlarmKind.HIGH_VALUE))
    assert len(await inland.alarms("?kind=high_value")) == 1
    assert len(await inland.alarms("?severity=severe")) == 5
    seen: list[str] = []
    cursor = ""
    while True:
        page = await inland.boss.client("GET", f"{ALARMS}?limit=4{cursor}")
        seen += [one["id"] for one in page.data]
        following = page.json["meta"]["page"].get("nextCursor")
        if following is None:
            break
        cursor = f"&cursor={following}"
    assert len(seen) == len(set(seen)) == 6
    detail = (await inland.boss.client("GET", f"{ALARMS}/{seen[0]}")).data
    assert [one["facts"] for one in detail["causes"]] == [{"balance": "9"}]
    nowhere = await inland.boss.client("GET", f"{ALARMS}/01890000-0000-7000-8000-000000000000")
    assert (nowhere.status, nowhere.error["code"]) == (404, "security.alarm_not_found")
    assert (await inland.boss.client("GET", f"{ALARMS}?kind=nothing")).status == 422


async def test_what_is_old_is_forgotten_with_its_causes(inland: Tower) -> None:
    await suspect(inland, cause(inland, 1))
    await inland.town.later(days=service.KEPT.days - 1)
    await suspect(inland, cause(inland, 2, subject="newer"))
    await inland.tick(SWEEP)
    assert len(await inland.alarms()) == 2
    await inland.town.later(days=2)
    inland.boss = await inland.person(inland.boss.wallet)
    await inland.tick(SWEEP)
    assert [one["subject"] for one in await inland.alarms()] == ["newer"]
    assert await inland.database.fetchval("SELECT count(*) FROM alarm_causes") == 1


async def test_a_storm_of_many_names_is_five_alarms_and_one_of_the_platform(inland: Tower) -> None:
    def reuse(number: int) -> Cause:
        return cause(inland, number, kind=AlarmKind.REFRESH_REUSE, subject=f"user:{number}", facts={})

    await suspect(inland, *(reuse(number) for number in range(16)))
    alarms = await inland.alarms()
    assert len(alarms) == len(await inland.inbox()) == 6
    [storm] = [one for one in alarms if one["subject"] == "platform"]
    assert storm["count"] == 11
    detail = await inland.boss.client("GET", f"{ALARMS}/{storm['id']}")
    own = {one["subject"] for one in alarms} - {"platform"}
    told = {one["facts"]["subject"] for one in detail.data["causes"]}
    assert own | told == {f"user:{number}" for number in range(16)}, "nobody is left out"
    inland.clock.pass_by(minutes=15, seconds=1)
    await suspect(inland, reuse(99))
    assert (await inland.alarms())[-1]["subject"] == "user:99", "calm again"
    await suspect(inland, *(cause(inland, 500 + at, subject=f"contract {at}") for at in range(8)))
    assert len(await inland.alarms("?kind=balance_drift")) == 8, "what no stranger causes is told each"


# --- real causes that need no chain ---


async def test_a_refresh_token_that_is_used_twice_is_an_alarm_and_two_tabs_are_none(inland: Tower) -> None:
    wallet = Wallet(inland.clock)
    browser = inland.browser()
    first = (await wallet.sign_in(browser))["refreshToken"]
    second = (await browser.refresh(first)).data["refreshToken"]
    assert (await browser.refresh(first)).status == 200, "the other tab"
    assert await inland.alarms() == []
    inland.clock.pass_by(minutes=1)
    assert (await browser.refresh(second)).status == 200
    thief = inland.browser(user_agent=SAFARI, client="198.51.100.1")
    assert (await thief.refresh(second)).code == "auth.refresh_reused"
    [alarm] = await inland.alarms()
    known = bytes.fromhex(wallet.address[2:])
    assert (alarm["kind"], alarm["subject"], alarm["severity"]) == (
        "refresh_reuse",
        f"user:{await inland.database.fetchval('SELECT user_id FROM wallets WHERE address = $1', known)}",
        "warning",
    )
    assert alarm["facts"] == {"device": "Firefox on Linux"}


async def test_an_altered_row_of_the_audit_log_is_an_alarm_and_sound_ones_are_none(inland: Tower) -> None:
    async def entry() -> None:
        async with inland.database.transaction() as tx:
            await record(tx, SYSTEM, "job.retried", resource="job:1", now=utc_now())

    await entry()
    async with inland.sealing():
        async with asyncio.timeout(30):
            while await inland.database.fetchval("SELECT EXISTS (SELECT FROM audit_unsealed)"):
                await asyncio.sleep(0.05)
    await inland.tick(AUDIT)
    assert await inland.alarms() == []
    await inland.database.execute("ALTER TABLE audit_entries DISABLE TRIGGER ALL")
    await inland.database.execute("UPDATE audit_entries SET resource = 'job:2'")
    await inland.tick(AUDIT)
    [alarm] = await inland.alarms()
    assert (alarm["kind"], alarm["severity"]) == ("audit_broken", "severe")
    assert "altered" in alarm["facts"]["first"]
    assert AUDIT_KEYS.current


async def test_other_warnings_to_users_are_no_alarms(inland: Tower) -> None:
    person = await inland.person()
    told = {"title": "…", "text": "…", "kind": "security", "about": "email_set"}
    await inland.town.say(Message((f"user:{person.text}",), "notification", told))
    assert await inland.alarms() == []


# --- once, whatever happens ---


async def test_a_handler_that_hears_a_message_twice_raises_one_alarm(database_url: str) -> None:
    async with built(database_url, works=False) as tower:
        told = {"title": "…", "text": "…", "kind": "security", "about": "session_reuse", "device": "<x>"}
        user, wallets = str(uuid7()), [checksum(Address(bytes([number]) * 20)) for number in (1, 2)]
        data = json.dumps(told | {"user": user, "session": str(uuid7())}).encode()
        heard = [
            Relayed(number, f"user:{whose}", "notification", data, None, None, 0)
            for number, whose in enumerate((user, *wallets, user), 7)
        ]
        hearing = Hearing({}, tower.clock)
        for _ in range(2):
            async with tower.database.transaction() as tx:
                await hearing(tx, heard)
        async with tower.working(), tower.relaying():
            [alarm] = await tower.alarms()
        assert (alarm["count"], alarm["subject"]) == (1, f"user:{user}")
        assert alarm["facts"] == {"device": "x"}


async def test_hearing_waits_for_nobody_who_raises_the_same_alarm(database_url: str) -> None:
    async with built(database_url, works=False) as tower:
        one = cause(tower)
        async with tower.database.transaction() as holder:
            await service.raise_alarm(holder, one, tower.tools.watchmen, now=tower.clock())
            async with asyncio.timeout(5), tower.database.transaction() as tx:
                await service.suspect(tx, [one, cause(tower, 2)])


async def test_a_message_that_cannot_be_read_does_not_keep_others_from_being_heard(inland: Tower) -> None:
    async with inland.database.transaction() as tx:
        broken = Message(("platform",), "admin_changed", {"nonsense": True})
        await publish(tx, [broken])
    await inland.appoint(inland.boss, Wallet(inland.clock).address)
    assert await inland.kinds() == ["admin_changed"]


async def test_relays_and_workers_that_are_killed_raise_each_alarm_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Processes are killed at random moments while messages come; each message is one cause, none is lost."""
    number = 100
    now = utc_now()
    async with database.transaction() as tx:
        await accounts_store.user_of_wallet(tx, BOSS, new_id=uuid7(), now=now)
    output = tmp_path / "log"
    randomness = random.Random(7)

    def start(log: object) -> subprocess.Popen[bytes]:
        root = PROGRAM.parents[2]
        environment = {"PYTHONPATH": f"{root}:{root / 'src'}"}
        return subprocess.Popen(
            [sys.executable, PROGRAM, database_url], cwd=root, env=environment, stdout=log, stderr=log
        )

    async def told() -> int:
        return await database.fetchval("SELECT count(*) FROM alarm_causes")

    with output.open("ab") as log:
        processes = [start(log) for _ in range(2)]
        try:
            for at in range(number):
                wallet = checksum(Address(at.to_bytes(20)))
                data = {"address": wallet, "granted": True, "by": checksum(BOSS)}
                async with database.transaction() as tx:
                    await publish(tx, [Message(("platform",), "admin_changed", data)])
                if at % 20 == 19:
                    async with asyncio.timeout(120):
                        while await told() <= at - 19 + randomness.randrange(1, 15):
                            await asyncio.sleep(0.01)
                    victim = randomness.randrange(2)
                    processes[victim].kill()
                    processes[victim].wait()
                    processes[victim] = start(log)
            async with asyncio.timeout(120):
                while await told() < number or await database.fetchval(
                    "SELECT EXISTS (SELECT FROM jobs.queue) OR EXISTS (SELECT FROM outbox)"
                ):
                    await asyncio.sleep(0.05)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    assert await database.fetchval("SELECT count(*) FROM alarms") == number
    assert await database.fetchval("SELECT sum(count) FROM alarms") == number
    channel = "SELECT count(*) FROM messages WHERE channel = 'platform' AND type = 'alarm'"
    assert await database.fetchval(channel) == number
    assert await database.fetchval("SELECT count(*) FROM notifications WHERE kind = 'alarm'") == number
    lines = [json.loads(line) for line in output.read_text().splitlines() if "security.alarm" in line]
    assert len({line["alarm"] for line in lines}) == number, "each is in the log, perhaps twice"
