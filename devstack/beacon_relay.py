"""Serves the local beacon, which replaces drand on local networks: `python -m devstack.beacon_relay PORT`.

It answers with the public signatures of quicknet's rounds 1000 to 1002, each from the instant of its round
on. Therefore the local beacon keeps nothing secret.
"""

import json
import re
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from devstack.part import Part
from devstack.ports import HOST, Ports, is_free
from devstack.programs import REPOSITORY, inherited_environment
from devstack.state import State
from zipcast.protocol.beacon import LOCAL_CHAIN, MAX_ROUND

SIGNATURES = {
    1000: "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
    1001: "b33bf3667cbd5a82de3a24b4e0e9fe5513cc1a0e840368c6e31f5fcfa79bea03f73896b25883abf2853d10337fb8fa41",
    1002: "ab066f9c12dd6de1336fca0f925192fb0c72a771c3e4c82ede1fd362c1a770f9eb05843c6308ce2530b53a99c0281a6e",
}
_PATH = re.compile(rf"/{LOCAL_CHAIN.name}/public/([1-9][0-9]{{0,14}})")


def stand_in_signature(round_number: int) -> str:
    """Return the public signature that the local beacon uses for a round."""
    return SIGNATURES[LOCAL_CHAIN.drand_round(round_number)]


def beacon_relay_part(state: State, ports: Ports) -> Part:
    """Return the relay on `ports.beacon_relay`. It replaces an external service, so no test stops it."""

    async def is_ready() -> bool:
        return not is_free(ports.beacon_relay)

    return Part(
        name="beacon_relay",
        address=f"http://{HOST}:{ports.beacon_relay}",
        argv=(sys.executable, "-m", "devstack.beacon_relay", str(ports.beacon_relay)),
        environment=inherited_environment(),
        log=state.logs / "beacon_relay.log",
        folder=REPOSITORY,
        is_ready=is_ready,
    )


class RelayHandler(BaseHTTPRequestHandler):
    """Answers like drand's relays: with 425 before a round's instant, and with 404 for any other path."""

    def do_GET(self) -> None:
        match = _PATH.fullmatch(self.path)
        round_number = 0 if match is None else int(match.group(1))
        if not 1 <= round_number <= MAX_ROUND or not self._is_signed(round_number):
            self._answer(HTTPStatus.NOT_FOUND if match is None else HTTPStatus.TOO_EARLY, {})
            return
        document = {"round": round_number, "signature": stand_in_signature(round_number)}
        self._answer(HTTPStatus.OK, document)

    def log_message(self, *_: object) -> None:
        """Log nothing, because a line for each request would be of no use."""

    def _is_signed(self, round_number: int) -> bool:
        try:
            return LOCAL_CHAIN.instant(round_number) <= datetime.now(UTC)
        except OverflowError:
            return False

    def _answer(self, status: HTTPStatus, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    ThreadingHTTPServer((HOST, int(sys.argv[1])), RelayHandler).serve_forever()


if __name__ == "__main__":
    main()
