"""Follows a page of the documentation as a reader does: writes its files and runs its commands, in order."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from documentation.pages import code_blocks, with_includes
from tests.support.programs import running
from zipcast.client.local_stack import Ready

BRIDGE, NATS, EPOCH, SIGNER = (
    "https://bridge.example.org",
    "tls://nats.example.org:4222",
    "2026-11-22T04-00-00",
    "ZIPCAST_SIGNER=5F… ",
)
# Programs that run until the reader stops them.
ENDLESS = ("python miner.py", "python validator.py", "node miner.js", "make up")
# Lines that also matter for later blocks, which a reader runs in the same terminal.
LASTING = ("eval ", "export ")
Wait = Callable[[], Awaitable[object]]


@dataclass
class Reader:
    """A reader with an own home folder. `replaced` maps what the page has as examples to what is real."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    """What each command printed."""

    @classmethod
    def of(cls, home: Path, ready: Ready, wallet: str, variables: Mapping[str, str]) -> "Reader":
        """Return a reader who has the wallet under the names of the pages."""
        own = home / ".bittensor" / "wallets" / "my-wallet"
        shutil.copytree(Path(ready.wallets) / wallet, own)
        shutil.copy(own / "hotkeys" / "default", own / "hotkeys" / "my-hotkey")
        signer = f"ZIPCAST_SIGNER={ready.signer} "
        replaced = {
            BRIDGE: ready.http,
            NATS: ready.nats,
            SIGNER: signer,
            "NETWORK=finney": f"NETWORK={ready.network}",
        }
        return cls(home, variables, replaced)

    def environment(self) -> dict[str, str]:
        foreign = ("ZIPCAST_", "BT_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {
            "HOME": str(self.home),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return kept | own | self.variables

    async def follow(self, page: str, waits: Mapping[str, Wait], background: AsyncExitStack) -> None:
        """Follow `docs/PAGE.md`. A program that does not end runs until `background` is closed; before the
        next step, wait for `waits[program]`."""
        lasting: list[str] = []
        for language, title, code in code_blocks(with_includes(f"docs/{page}.md")):
            if title and language == "python":
                (self.home / title).write_text(code)
            if language != "sh" or title:
                continue
            lines = self._real(code).splitlines()
            last = code.splitlines()[-1]
            begun = next((one for one in ENDLESS if last.startswith(one)), None)
            if begun is None:
                await self._run(lasting + lines)
            else:
                await self._run(lasting + lines[:-1])
                await self._begin([*lasting, *lines[:-1], f"exec {lines[-1]}"], begun, background)
                await waits[begun]()
            lasting += [line for line in lines if line.startswith(LASTING)]

    def output(self, program: str) -> str:
        """Return what a program that does not end has printed."""
        return (self.home / f"{_name(program)}.output").read_text()

    def _real(self, code: str) -> str:
        for example, real in self.replaced.items():
            code = code.replace(example, real)
        return code

    async def _run(self, lines: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", "\n".join(lines)),
            cwd=self.home,
            env=self.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(b"y\n")  # answers a question, if there is one
        command = "\n".join(lines)
        self.printed[command] = output.decode()
        assert process.returncode == 0, f"{command}\n{output.decode()}"

    async def _begin(self, lines: list[str], program: str, background: AsyncExitStack) -> None:
        script = self.home / f"{_name(program)}.sh"
        script.write_text("\n".join(lines))
        output = self.home / f"{_name(program)}.output"
        environment = self.environment() | {"PWD": str(self.home)}
        await background.enter_async_context(
            running(["bash", "-eu", str(script)], environment, output, self.home)
        )


def _name(program: str) -> str:
    return program.rpartition(" ")[2]
