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

    def delay(self, ms, up_ms=0):
        """Has everything that the server sends come late, and everything that the client sends."""
        self._do("delay", ms, up_ms)

    def split(self, yes=True):
        """Has everything come in single bytes, both ways."""
        self._do("split", yes)

    def hold(self):
        """Lets nothing pass on the connections that are open; they stay open."""
        self._do("hold")

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

    def cut_after_sent(self, byte_counts):
        """The next connections each end after so many bytes of the client's."""
        self._do("cut_after_sent", byte_counts)

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
        self.delay_ms = {"client": 0, "server": 0}
        self.splitting = False
        self.forbidden = b""
        self.forbidden_times = 0
        self.budgets = {"client": [], "server": []}

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
            self.delay_ms = dict(zip(["client", "server"], args))
        elif name == "split":
            (self.splitting,) = args
        elif name == "hold":
            for connection in list(self.open):
                connection.hold()
        elif name == "half_close":
            for connection in list(self.open):
                connection.half_close(args[0])
        elif name == "cut_at":
            text, self.forbidden_times = args
            self.forbidden = text.encode()
        elif name == "cut_after":
            (self.budgets["client"],) = args
        elif name == "cut_after_sent":
            (self.budgets["server"],) = args
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
        # What may still pass to each side.
        self.budget = {side: of.pop(0) if of else None for side, of in relay.budgets.items()}
        self.deaf = {"client": False, "server": False}

    async def run(self):
        for _, writer in [self.client, self.server]:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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

    def hold(self):
        self.deaf = {"client": True, "server": True}

    async def pump(self, source, sink, side):
        tail = b""
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if self.relay.delay_ms[side]:
                    await asyncio.sleep(self.relay.delay_ms[side] / 1000)
                if side == "client":
                    if not self.may_pass(tail + chunk):
                        return self.cut()
                    tail = (tail + chunk)[-64:]
                chunk, over = self.within_budget(side, chunk)
                if not self.deaf[side]:
                    # The bytes leave before a reset: a reset discards what was not sent.
                    await self.write(sink, chunk)
                if over:
                    return self.cut()
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

    def within_budget(self, side, chunk):
        left = self.budget[side]
        if left is None:
            return chunk, False
        self.budget[side] = left - len(chunk)
        return chunk[:left], left <= len(chunk)

    async def write(self, sink, chunk):
        size = 1 if self.relay.splitting else max(len(chunk), 1)
        for at in range(0, len(chunk), size):
            sink.write(chunk[at : at + size])
            await sink.drain()
            if self.relay.splitting:
                # Else the next byte would be sent together with this one.
                await asyncio.sleep(0)


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
