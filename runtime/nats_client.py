"""nats-py, hardened: what a stranger writes into a message costs that message and nothing else.

nats-server passes on header blocks and reply subjects as a client wrote them. nats-py ends its reader
without a word on what it cannot decode, and takes vertical tabs and form feeds for separators, which
nats-server does not: one message of one miner would leave a process deaf, or cut its connection. Owns
those repairs, no others.
"""

import re

from nats.errors import ProtocolError
from nats.protocol import parser

from runtime import logs
from zipcast.encrypted import EncryptedClient

log = logs.logger()

# nats-server's own separators. The parser looks these two up each time, and offers no other way in.
_MSG = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?([0-9]+)\r\n")
_HMSG = re.compile(
    rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?([0-9]+)[ \t]+([0-9]+)\r\n"
)
parser.MSG_RE, parser.HMSG_RE = _MSG, _HMSG


class HardenedClient(EncryptedClient):
    """A client that hostile messages cannot silence."""

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (ValueError, IndexError) as error:
            # Nobody is answered: that its reply subject is well-formed is not known.
            log.warning("message_undecodable", error=type(error).__name__)

    async def _read_loop(self) -> None:
        """However reading ends, it does not end with a connection that looks well."""
        await super()._read_loop()
        if self.is_connected:
            log.error("nats_reader_ended")
            await self._process_op_err(ProtocolError())
