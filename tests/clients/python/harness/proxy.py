"""A TCP proxy between client and server that misbehaves on request.

    test ──commands──► this file as a process of its own
    client ─────────► proxy ─────────► server

A process of its own, because the client holds the interpreter while it waits for an answer:
a thread of the test could not serve it then. What is to happen during a call is ordered before.
The proxy speaks no WebSocket: the client offers no compression and the server masks nothing, so
that what the server sends can be searched for a text.
"""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys

CHUNK_BYTES = 64 * 1024
WAIT_SECONDS_MAX = 30


class Proxy:
    """The test's side: one method per command. Each returns when the command has taken effect."""

    def __init__(self, target):
        command = [sys.executable, "-B", __file__, str(target)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, **pipes)
        self.port = json.loads(self._process.stdout.readline())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def connections(self):
        """How many connections were let in so far."""
        return self._do("count", "accepted")

    def attempts(self):
        """How many connections were tried so far: let in or refused."""
        return self._do("count", "attempts")

    def wait_connections(self, count):
        """Returns when `count` connections were let in."""
        self._do("wait", "accepted", count)

    def wait_attempts(self, count):
        """Returns when `count` connections were let in or refused."""
        self._do("wait", "attempts", count)

    def wait_ended(self, count):
        """Returns when `count` connections have come and gone."""
        self._do("wait", "ended", count)

    def cut(self):
        """Resets all connections, on both sides."""
        self._do("cut")

    def refuse(self, count):
        """Resets the next `count` connections as soon as they are there; -1: all, 0: none."""
        self._do("refuse", count)

    def delay(self, ms):
        """Has everything that the server sends come late."""
        self._do("delay", ms)

    def half_close(self, side):
        """Tells `side`, "client" or "server", that the other one will send nothing more, and
        drops what that one still sends. The other direction stays open."""
        self._do("half_close", side)

    def cut_at(self, text, times=1):
        """Resets a connection on which the server sends `text`, before that passes."""
        self._do("cut_at", text, times)

    def cut_after(self, byte_counts):
        """The next connections each end after so many bytes of the server's."""
        self._do("cut_after", byte_counts)

    def retarget(self, port):
        """Has new connections go to `port`."""
        self._do("retarget", port)

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _do(self, *command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]


class Relay:
    """The process's side."""

    def __init__(self, target):
        self.target = target
        self.open = set()
        self.counts = {"accepted": 0, "attempts": 0, "ended": 0}
        self.changed = asyncio.Condition()
        self.refusing = 0
        self.delay_ms = 0
        self.forbidden = b""
        self.forbidden_times = 0
        self.budgets = []

    async def accept(self, reader, writer):
        await self.count("attempts")
        if self.refusing != 0:
            self.refusing -= 1
            reset(writer)
            return
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            reset(writer)
            return
        connection = Connection(self, (reader, writer), upstream)
        self.open.add(connection)
        await self.count("accepted")
        await connection.run()
        self.open.discard(connection)
        await self.count("ended")

    async def count(self, what):
        async with self.changed:
            self.counts[what] += 1
            self.changed.notify_all()

    async def do(self, name, *args):
        """Carries out one command; the names are those of `Proxy`."""
        if name == "count":
            return self.counts[args[0]]
        if name == "wait":
            what, least = args
            async with self.changed:
                reached = self.changed.wait_for(lambda: self.counts[what] >= least)
                await asyncio.wait_for(reached, WAIT_SECONDS_MAX)
        elif name == "cut":
            for connection in list(self.open):
                connection.cut()
        elif name == "refuse":
            (self.refusing,) = args
        elif name == "delay":
            (self.delay_ms,) = args
        elif name == "half_close":
            for connection in list(self.open):
                connection.half_close(args[0])
        elif name == "cut_at":
            text, self.forbidden_times = args
            self.forbidden = text.encode()
        elif name == "cut_after":
            (self.budgets,) = args
        elif name == "retarget":
            (self.target,) = args
        else:
            raise ValueError(f"no command {name}")


class Connection:
    """Two pumps; the first that fails ends both."""

    def __init__(self, relay, client, server):
        self.relay = relay
        self.client = client
        self.server = server
        self.budget = relay.budgets.pop(0) if relay.budgets else None
        self.deaf = {"client": False, "server": False}

    async def run(self):
        up = asyncio.ensure_future(self.pump(self.client[0], self.server[1], "server"))
        down = asyncio.ensure_future(self.pump(self.server[0], self.client[1], "client"))
        await asyncio.gather(up, down)
        self.client[1].close()
        self.server[1].close()

    def cut(self):
        reset(self.client[1])
        reset(self.server[1])

    def half_close(self, side):
        self.deaf[side] = True
        end(self.client[1] if side == "client" else self.server[1])

    async def pump(self, source, sink, side):
        tail = b""
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if side == "client":
                    if self.relay.delay_ms:
                        await asyncio.sleep(self.relay.delay_ms / 1000)
                    if not self.may_pass(tail + chunk):
                        return self.cut()
                    tail = (tail + chunk)[-64:]
                    chunk, over = self.within_budget(chunk)
                    if over:
                        # The bytes leave before the reset: a reset discards what was not sent.
                        sink.write(chunk)
                        await sink.drain()
                        return self.cut()
                if not self.deaf[side]:
                    sink.write(chunk)
                    await sink.drain()
            if not self.deaf[side]:
                end(sink)
        except OSError:
            self.cut()

    def may_pass(self, stream):
        relay = self.relay
        if relay.forbidden_times == 0 or relay.forbidden not in stream:
            return True
        relay.forbidden_times -= 1
        return False

    def within_budget(self, chunk):
        if self.budget is None:
            return chunk, False
        passing, self.budget = chunk[: self.budget], self.budget - len(chunk)
        return passing, self.budget <= 0


def end(writer):
    """Sends FIN, unless the connection is gone."""
    try:
        writer.write_eof()
    except (OSError, RuntimeError):
        pass


def reset(writer):
    """Sends RST."""
    sock = writer.get_extra_info("socket")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    writer.transport.abort()


async def serve(target):
    relay = Relay(target)
    listener = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = {"value": await relay.do(*json.loads(line))}
        except Exception as error:
            answer = {"error": f"{line.strip()}: {error!r}; counts: {relay.counts}"}
        print(json.dumps(answer), flush=True)
    # The kernel closes what is open; nobody waits for it.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
