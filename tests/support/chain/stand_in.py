"""A stand-in for the chain: a websocket server that replies to requests for a metagraph like a subtensor
node.

It implements the JSON-RPC methods that the real SDK calls for a metagraph, and the ways in which nodes fail.
Tests change its data while it runs.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support.chain.metadata import ChainNeuron, metadata, metagraph
from tests.support.chain.scale import compact, option

HOST = "127.0.0.1"


class Mood(Enum):
    """How the node replies. The last five are kinds of garbage."""

    WELL = auto()
    SILENT = auto()  # accepts requests and does not reply
    BUSY = auto()  # replies with 429 at the handshake
    FAULTY = auto()  # JSON-RPC errors
    MISSHAPEN = auto()  # well-formed JSON-RPC with results of other types
    UNDECODABLE = auto()  # hex that is not SCALE
    SCALARS = auto()  # JSON that is not JSON-RPC
    BYTES = auto()  # bytes that are not JSON
    BOMB = auto()  # endless lists, which a node sends compressed


class StandInChain:
    """The stand-in. `block` increases by one whenever a metagraph is read, unless `moves` is false. Every
    reply is delayed by `slowness_seconds`. `opened` counts all connections so far, `refused` the refused
    handshakes, and `unanswered` the requests without a reply."""

    def __init__(self, netuid: int = 46) -> None:
        self.netuid = netuid
        self.neurons: tuple[ChainNeuron, ...] = ()
        self.block = 1000
        self.moves = True
        self.mood = Mood.WELL
        self.slowness_seconds = 0.0
        self.bomb_bytes = 0
        self.opened = self.refused = self.unanswered = self.reads = 0
        self.port = 0
        self._server: Server | None = None

    @classmethod
    @asynccontextmanager
    async def running(cls, netuid: int = 46) -> AsyncIterator["StandInChain"]:
        chain = cls(netuid)
        await chain.start()
        try:
            yield chain
        finally:
            await chain.stop()

    @property
    def endpoint(self) -> str:
        return f"ws://{HOST}:{self.port}"

    @property
    def held(self) -> int:
        """Return the number of open connections."""
        return 0 if self._server is None else len(self._server.connections)

    async def start(self) -> None:
        """Start to listen: on a free port the first time, and on the same port after a stop."""
        self._server = await serve(self._converse, HOST, self.port, process_request=self._handshake)
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Close all connections, and refuse new ones until the next start."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def _handshake(self, connection: ServerConnection, _: Request) -> Response | None:
        if self.mood is not Mood.BUSY:
            return None
        self.refused += 1
        refusal = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "too many requests\n")
        refusal.headers["Retry-After"] = "7"
        return refusal

    async def _converse(self, connection: ServerConnection) -> None:
        self.opened += 1
        try:
            async for request in connection:
                await asyncio.sleep(self.slowness_seconds)
                if self.mood is Mood.SILENT:
                    self.unanswered += 1
                else:
                    await connection.send(self._reply(json.loads(request)))
        except ConnectionClosed:
            return  # the client disconnected before the whole reply was sent

    def _reply(self, request: dict[str, object]) -> str | bytes:
        if self.mood is Mood.SCALARS:
            return "[1, 2, 3]"
        if self.mood is Mood.BYTES:
            return "<html>502 Bad Gateway</html>"
        head = {"jsonrpc": "2.0", "id": request["id"]}
        if self.mood is Mood.BOMB:
            lists = "[]," * (self.bomb_bytes // 3)
            return json.dumps(head)[:-1] + f', "result": [{lists}1]}}'
        if self.mood is Mood.FAULTY:
            return json.dumps(head | {"error": {"code": -32000, "message": "Client error: not now"}})
        return json.dumps(head | {"result": self._result(str(request["method"]), request["params"])})  # type: ignore[arg-type]

    def _result(self, method: str, parameters: list[object]) -> object:
        if self.mood is Mood.MISSHAPEN:
            return {"number": ["x"], "specVersion": "none"} if method != "chain_getHeader" else 7
        answers: dict[str, Callable[[list[object]], object]] = {
            "chain_getBlockHash": lambda asked: _hash(int(str(asked[0]))),
            "chain_getHead": lambda _: _hash(self.block),
            "chain_getFinalizedHead": lambda _: _hash(self.block),
            "chain_getHeader": self._header,
            "state_getRuntimeVersion": lambda _: {
                "specName": "node-subtensor",
                "specVersion": 446,
                "transactionVersion": 1,
            },
            "state_getKeysPaged": lambda _: [],
            "state_queryStorageAt": lambda _: [],
            "state_call": self._call,
        }
        return answers[method](parameters)

    def _header(self, asked: list[object]) -> dict[str, object]:
        block = self.block if not asked or asked[0] is None else int(str(asked[0]), 16)
        return {"number": hex(block), "parentHash": _hash(max(block - 1, 1)), "digest": {"logs": []}}

    def _call(self, asked: list[object]) -> str:
        method, parameters, at = map(str, asked)
        if method == "Metadata_metadata_at_version":
            described = metadata()
            return _hex(option(compact(len(described)) + described))
        self.reads += 1
        netuid = int.from_bytes(bytes.fromhex(parameters.removeprefix("0x")), "little")
        if self.mood is Mood.UNDECODABLE:
            return "0x01ffffff"
        block = int(at, 16)
        self.block += self.moves
        return _hex(metagraph(netuid, block, self.neurons) if netuid == self.netuid else option(None))


def _hash(block: int) -> str:
    return f"0x{block:064x}"


def _hex(encoded: bytes) -> str:
    return "0x" + encoded.hex()
