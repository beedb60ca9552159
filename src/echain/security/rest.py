"""Routes of alarms, for administrators of the platform."""

from __future__ import annotations

from typing import Final

from echain.edge.http import Auth, Call, Endpoint, Nothing, get, post
from echain.infra.database import Database
from echain.kernel.paging import Page
from echain.security import service
from echain.security.types import (
    Alarm,
    AlarmDetail,
    AlarmFilter,
    AlarmNotFound,
    AlarmPath,
    AlreadyAcknowledged,
)

TAG: Final = "admin"


def endpoints(database: Database) -> list[Endpoint]:
    """Return the routes under ``/api/v1/admin/alarms``."""

    @get(
        "/api/v1/admin/alarms",
        summary="List alarms, the newest first",
        tag=TAG,
        answer=list[Alarm],
        query=AlarmFilter,
        auth=Auth.ADMIN,
    )
    async def alarms(call: Call[Nothing, AlarmFilter, Nothing]) -> Page[Alarm]:
        return await service.alarms(database, call.query)

    @get(
        "/api/v1/admin/alarms/{id}",
        summary="Show an alarm with its causes",
        tag=TAG,
        answer=AlarmDetail,
        path_params=AlarmPath,
        auth=Auth.ADMIN,
        errors=(AlarmNotFound,),
    )
    async def alarm(call: Call[AlarmPath, Nothing, Nothing]) -> AlarmDetail:
        return await service.alarm(database, call.path.id)

    @post(
        "/api/v1/admin/alarms/{id}/acknowledge",
        summary="Say that an alarm has been seen to",
        tag=TAG,
        answer=Alarm,
        path_params=AlarmPath,
        auth=Auth.ADMIN,
        errors=(AlarmNotFound, AlreadyAcknowledged),
        description="What an alarm tells of a contract is what is expected of it from then on.",
    )
    async def acknowledge(call: Call[AlarmPath, Nothing, Nothing]) -> Alarm:
        async with database.transaction() as tx:
            alarm = await service.acknowledge(tx, call.path.id, call.user.id, now=call.now)
            await call.audit(tx, "alarm.acknowledged", resource=f"alarm:{alarm.id}")
        return alarm

    return [alarms, alarm, acknowledge]
