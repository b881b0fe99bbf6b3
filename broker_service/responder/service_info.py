"""Describes the responder's endpoints to operators, so that `nats micro ls`, `info` and `stats` list them.

The protocol is ADR-32 of https://github.com/nats-io/nats-architecture-and-design. Only the operator's account
can send these questions (nats.conf), and the answers say nothing about single requests.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from secrets import token_hex
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from broker_service.responder.metrics import ResponderMetrics
from zipcast.clock import Clock
from zipcast.protocol.subjects import RESPONDER_QUEUE, requests, service_questions
from zipcast.protocol.verbs import Verb

NAME = "zipcast-responder"
KINDS = ("PING", "INFO", "STATS")


@dataclass(slots=True)
class ServiceInfo:
    """Answers questions that arrive on `connection`. Each replica has an id of its own."""

    connection: Client
    metrics: ResponderMetrics
    clock: Clock
    _id: str = field(default_factory=lambda: token_hex(8))
    _started: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock.now()

    async def answer(self) -> None:
        """Subscribe to the questions. They are answered until the connection is closed."""
        for kind in KINDS:
            for subject in service_questions(kind, NAME, self._id):
                await self.connection.subscribe(subject, cb=self._answer)

    async def _answer(self, message: Msg) -> None:
        if message.reply:
            kind = message.subject.split(".")[1]
            await message.respond(json.dumps(self.description(kind)).encode())

    def description(self, kind: str) -> dict[str, Any]:
        """Return the answer to a question of one of the KINDS."""
        about = {
            "type": f"io.nats.micro.v1.{kind.lower()}_response",
            "name": NAME,
            "id": self._id,
            "version": version("zipcast"),
            "metadata": {},
        }
        if kind == "INFO":
            description = "Answers requests of miners and validators, signed with their hotkeys."
            return about | {"description": description, "endpoints": [_endpoint(verb) for verb in Verb]}
        if kind == "STATS":
            endpoints = [_endpoint(verb) | self._statistics(verb) for verb in Verb]
            return about | {"started": self._started.isoformat(), "endpoints": endpoints}
        return about

    def _statistics(self, verb: Verb) -> dict[str, Any]:
        """Return the numbers of a verb, from NATS and the bridge together. Times are in nanoseconds."""
        handled, failed, seconds = self.metrics.of_verb(verb)
        return {
            "num_requests": handled,
            "num_errors": failed,
            "last_error": "",
            "processing_time": round(seconds * 1e9),
            "average_processing_time": round(seconds * 1e9 / handled) if handled else 0,
        }


def _endpoint(verb: Verb) -> dict[str, Any]:
    name = verb.replace(".", "-")
    return {"name": name, "subject": requests(verb), "queue_group": RESPONDER_QUEUE, "metadata": {}}
