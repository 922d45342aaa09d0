"""Proxies that add a round trip to TCP connections, as a distance would."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from demo.postgres import HOST

_BYTES = 1 << 16


class Delays:
    """Proxies on free ports, served by a thread until this process ends.

    They read on while they hold data back: they add latency, and leave the bandwidth as it is.
    """

    def __init__(self) -> None:
        """Start without a proxy."""
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def through(self, port: int, seconds: float) -> int:
        """The port of a new proxy to a port of this machine, with a round trip of ``seconds``."""
        return asyncio.run_coroutine_threadsafe(_serve(port, seconds), self._loop).result()


async def _serve(port: int, seconds: float) -> int:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)  # the handshake
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(HOST, port)
            await asyncio.gather(
                _pass_on(reader, there_writer, seconds / 2), _pass_on(there_reader, writer, seconds / 2)
            )

    server = await asyncio.start_server(connect, HOST, 0)
    return int(server.sockets[0].getsockname()[1])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on one direction to its end, each piece of data ``delay`` seconds after it arrived."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        with suppress(OSError):
            while (piece := await pieces.get())[1]:
                await asyncio.sleep(piece[0] - loop.time())
                writer.write(piece[1])
                await writer.drain()
        writer.close()

    async def receive() -> None:
        data = b"at first"
        while data:
            try:
                data = await reader.read(_BYTES)
            except OSError:
                data = b""
            pieces.put_nowait((loop.time() + delay, data))

    await asyncio.gather(deliver(), receive())
