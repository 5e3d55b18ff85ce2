"""The child process of `tests.servers.proxy.fault_proxy`: a TCP relay with faults. The modes are told there.

usage: fault_relay.py HOST PORT. It reads lines of JSON, {"mode": WORDS} to set one or {} to ask, and answers
each with a line: {"port": .., "struck": .., "error": ..}. It ends when standard input ends.
"""

import asyncio
import json
import math
import re
import socket
import struct
import sys
import termios
from dataclasses import dataclass
from fcntl import ioctl
from random import Random

PIECE = 65536
NUMBERED = {"rst", "cut", "corrupt", "delay", "rate"}
ON_TEXT = {"rst-before", "rst-after", "busy"}
SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 46\r\n"
    b"Connection: close\r\n\r\n<Error><Code>SlowDown</Code><Message/></Error>"
)
GRAMMAR = re.compile(
    r"(?P<kind>[a-z-]+)(:(?P<argument>.*?))?(:(?P<times>\d+))?(@(?P<share>[\d.]+))?( on (?P<text>.+))?", re.S
)


@dataclass(frozen=True)
class Mode:
    """One fault: how much of it, for what share of the connections, how often, and after which request."""

    kind: str
    amount: float
    share: float
    times: float
    text: bytes


def known(kind: str, argument: str, text: str | None, words: str) -> bool:
    """Whether there is such a kind of fault and it takes what was given."""
    if kind in NUMBERED:
        return re.fullmatch(r"\d+(\.\d+)?", argument) is not None
    if kind in ON_TEXT:
        return bool(argument) and not text
    return words == kind if kind in ("ok", "refuse") else kind == "hang" and not argument


def parsed(words: str) -> Mode:
    """The mode that the words tell. Raises ValueError if they tell none."""
    found = GRAMMAR.fullmatch(words)
    if not found or not known(found["kind"], found["argument"] or "", found["text"], words):
        raise ValueError(f"unknown mode {words!r}: see tests.servers.proxy")
    kind, argument = found["kind"], found["argument"] or ""
    return Mode(
        kind,
        amount=float(argument) if kind in NUMBERED else 0.0,
        share=float(found["share"] or 1),
        times=float(found["times"] or math.inf),
        text=(argument if kind in ON_TEXT else found["text"] or "").encode(),
    )


class Relay:
    """The listening port, the mode, and the connections under way."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.random = Random(0)
        self.struck = 0
        self.struck_in_mode = 0
        self.connections: set[Connection] = set()
        self.listener: asyncio.Server | None = None
        self.holder = socket.socket()  # keeps the port while nothing listens there
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.holder.bind(("127.0.0.1", 0))
        self.port: int = self.holder.getsockname()[1]
        self.mode = parsed("ok")
        self.changed = asyncio.Event()

    async def set_mode(self, mode: Mode) -> None:
        """Takes effect on connections under way too: their counts begin anew."""
        self.mode = mode
        self.struck_in_mode = 0
        for connection in self.connections:
            connection.begin_mode()
        self.changed.set()
        self.changed = asyncio.Event()
        if mode.kind == "refuse":
            await self.refuse()
        elif self.listener is None:
            self.listener = await asyncio.start_server(self.accept, "127.0.0.1", self.port, backlog=1024)

    async def refuse(self) -> None:
        """As if the server had died: what is under way is reset, and nothing listens."""
        if self.listener:
            self.listener.close()
            self.listener = None
        for connection in list(self.connections):
            self.struck += 1
            await connection.reset()

    def strike(self) -> bool:
        """Whether the fault strikes once more. It is counted if so."""
        if self.struck_in_mode >= self.mode.times:
            return False
        self.struck_in_mode += 1
        self.struck += 1
        return True

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self.target, limit=PIECE)
        except OSError:
            reset(writer)  # the server is down: so is what stands before it
            return
        connection = Connection(self, (reader, writer), upstream)
        self.connections.add(connection)
        await connection.run()
        self.connections.discard(connection)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connection:
    """One client, its own connection to the server, and what its answers have come to in this mode."""

    def __init__(self, relay: Relay, client: Stream, server: Stream) -> None:
        self.relay = relay
        self.client_reader, self.client = client
        self.server_reader, self.server = server
        for writer in (self.client, self.server):
            writer.transport.set_write_buffer_limits(0)  # what drain() has seen off is with the kernel
        self.begin_mode()

    def begin_mode(self) -> None:
        mode = self.relay.mode
        self.chosen = mode.kind != "ok" and self.relay.random.random() < mode.share
        self.slowed: bool | None = None  # whether it has been struck by a fault that lasts; None: not decided
        self.asked = b""  # the end of the requests, in case the text comes in two pieces
        self.answered = None if mode.text else 0

    async def run(self) -> None:
        """Relays both ways until both sides have ended, or one is broken."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self.requests())
                both.create_task(self.answers())
        except* OSError:
            reset(self.client)
            reset(self.server)
        finally:
            self.client.close()
            self.server.close()

    async def reset(self) -> None:
        await flushed(self.client)
        reset(self.client)
        reset(self.server)

    async def requests(self) -> None:
        while piece := await self.client_reader.read(PIECE):
            if self.hears(piece):
                if self.relay.mode.kind == "rst-before" and self.relay.strike():
                    await self.reset()
                    return
                if self.relay.mode.kind == "busy" and self.relay.strike():
                    await sent(self.client, SLOW_DOWN)
                    await self.cut()
                    return
                self.answered = 0
            await sent(self.server, piece)
        self.server.write_eof()

    def hears(self, piece: bytes) -> bool:
        """Whether the text that the mode waits for ends in this piece of a request."""
        text = self.relay.mode.text
        if not (text and self.chosen):
            return False
        asked = self.asked + piece
        self.asked = asked[max(0, len(asked) - len(text) + 1) :]
        return text in asked

    async def answers(self) -> None:
        while piece := await self.server_reader.read(PIECE):
            while (
                self.chosen and self.answered is not None and self.relay.mode.kind == "hang" and self.slows()
            ):
                await self.relay.changed.wait()
            if not self.chosen or self.answered is None:
                await sent(self.client, piece)
            elif not await self.faulted(piece, self.relay.mode):
                return
        self.client.write_eof()

    def slows(self) -> bool:
        """Whether a fault that lasts has this connection; that counts as one strike."""
        if self.slowed is None:
            self.slowed = self.relay.strike()
        return self.slowed

    async def faulted(self, piece: bytes, mode: Mode) -> bool:
        """Passes a piece of the answers on as the mode has it. False: the connection has ended."""
        begin, self.answered = self.answered or 0, (self.answered or 0) + len(piece)
        over = self.answered > mode.amount
        if mode.kind in ("rst", "cut") and over and self.relay.strike():
            await sent(self.client, piece[: max(0, int(mode.amount) - begin)])
            await (self.reset() if mode.kind == "rst" else self.cut())
            return False
        if mode.kind == "rst-after" and self.relay.strike():
            await self.let_server_finish()
            await self.reset()
            return False
        if mode.kind == "corrupt" and begin <= mode.amount < self.answered and self.relay.strike():
            at = int(mode.amount) - begin
            piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        if mode.kind == "delay" and self.slows():
            await asyncio.sleep(mode.amount)
        if mode.kind == "rate" and self.slows():
            await self.trickle(piece, mode)
        else:
            await sent(self.client, piece)
        return True

    async def cut(self) -> None:
        self.client.close()
        reset(self.server)

    async def trickle(self, piece: bytes, mode: Mode) -> None:
        """Sends a piece in twenty steps a second, and what is left at once when the mode changes."""
        step = max(1, int(mode.amount / 20))
        while piece and self.relay.mode is mode:
            await sent(self.client, piece[:step])
            await asyncio.sleep(len(piece[:step]) / mode.amount)
            piece = piece[step:]
        await sent(self.client, piece)

    async def let_server_finish(self) -> None:
        """Lets the server work off all that it was sent: whatever the request was, it has happened then."""
        self.server.write_eof()
        try:
            async with asyncio.timeout(5):
                while await self.server_reader.read(PIECE):
                    pass
        except (TimeoutError, OSError):
            pass  # a server that does not end its side has had its time


async def sent(writer: asyncio.StreamWriter, piece: bytes) -> None:
    writer.write(piece)
    await writer.drain()


async def flushed(writer: asyncio.StreamWriter) -> None:
    """Waits until the other side has received what was sent: a reset throws the rest away. At most 1 s."""
    for _ in range(200):
        if writer.is_closing():
            return
        queued = ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        if queued == b"\0\0\0\0":
            return
        await asyncio.sleep(0.005)


def reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection by RST."""
    if not writer.is_closing():
        lingering = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
        writer.transport.abort()


async def main(host: str, port: str) -> None:
    relay = Relay((host, int(port)))
    control = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(control), sys.stdin)
    await relay.set_mode(parsed("ok"))
    wish: dict[str, str] = {}
    while wish is not None:
        error = None
        try:
            if "mode" in wish:
                await relay.set_mode(parsed(wish["mode"]))
        except ValueError as wrong:
            error = str(wrong)
        print(json.dumps({"port": relay.port, "struck": relay.struck, "error": error}), flush=True)
        wish = json.loads(await control.readline() or "null")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
