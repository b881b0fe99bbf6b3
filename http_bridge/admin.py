"""The bridge's admin endpoints: checked here, forwarded, and checked again like all that is forwarded."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from starlette.responses import Response

from zipcast.admin_messages import AdminCommandReply, CommandsListReply
from zipcast.subjects import ADMIN_VERBS, Verb

PATH = "/api/v1/admin"

Forward = Callable[[Request, Verb], Awaitable[Response]]


def add_admin(app: FastAPI, forward: Forward) -> None:
    """`POST /api/v1/admin/{verb}` for each admin verb; signed with `btauth/1` alone."""
    for verb in sorted(ADMIN_VERBS):
        model = CommandsListReply if verb is Verb.COMMANDS_LIST else AdminCommandReply
        app.post(f"{PATH}/{verb}", responses={200: {"model": model}}, name=verb)(_endpoint(forward, verb))


def _endpoint(forward: Forward, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
    async def admin(request: Request) -> Response:
        """For admins, registered on the subnet or not; `btauth/1` only."""
        return await forward(request, verb)

    return admin
