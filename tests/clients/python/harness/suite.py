"""A suite is a server and tests on it. Every test gets its own people, clients and proxies.

The client holds the interpreter while it waits (mutation, query, `next`): nothing of Python runs
then, not even a timer. So subscriptions are awaited, calls that shall overlap go over HTTP, and a
watchdog outside the interpreter ends a test that hangs.
"""

import asyncio
import faulthandler
import itertools
import sys
import unittest

from convex import ConvexClient
from convex.http_client import ConvexHttpClient

from .proxy import Proxy
from .server import Server

WAIT_SECONDS_MAX = 30
TEST_SECONDS_MAX = 180

_serial = itertools.count()


class Suite(unittest.IsolatedAsyncioTestCase):
    """`self.server` serves all tests of a class; a failure shows what it wrote to stderr."""

    make_server = Server

    @classmethod
    def setUpClass(cls):
        cls.server = cls.make_server()
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        self.serial = next(_serial)
        faulthandler.dump_traceback_later(TEST_SECONDS_MAX, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)

    async def asyncSetUp(self):
        # Debug mode, the default of this class, reports every call that holds the interpreter.
        asyncio.get_running_loop().set_debug(False)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(f"server wrote: {self.server.stderr() or 'nothing'}", file=sys.stderr)
        return result

    def user_id(self, name):
        """The subject of `name`: no other test has the same."""
        return f"{name}-{self.serial}"

    def token(self, name, ttl=None):
        return self.server.token(self.user_id(name), ttl)

    def anonymous(self, via=None):
        """A client without identity."""
        return ConvexClient((via or self.server).url)

    def client(self, name, via=None):
        """A client signed in as `name`."""
        client = self.anonymous(via)
        client.set_auth(self.token(name))
        return client

    def http(self, name=None):
        """An HTTP client, signed in if `name` is given."""
        client = ConvexHttpClient(self.server.url)
        if name is not None:
            client.set_auth(self.token(name))
        return client

    def proxy(self):
        """A proxy in front of the server."""
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        return proxy

    def conversation(self, creator, *others):
        """A new conversation of `creator`, a client, and `others`, names."""
        members = [self.user_id(other) for other in others]
        return creator.mutation("conversations:create", {"memberIds": members})

    def send(self, client, conversation, body):
        return client.mutation("messages:send", {"conversationId": conversation, "body": body})

    def send_once(self, client, conversation, body):
        """Sends through a loss of the connection; None when the answer will not be known.

        A call that the client takes up in the moment of the loss fails with "channel closed". The
        client sends it all the same, on its next connection.
        """
        try:
            return self.send(client, conversation, body)
        except Exception as error:
            if str(error) != "channel closed":
                raise
            return None

    def stored(self, name, conversation):
        """Every message of the conversation as (id, body), oldest first, read over HTTP."""
        result = self.http(name).query("messages:list", page(conversation))
        return [(message["_id"], message["body"]) for message in reversed(result["page"])]


class Watch:
    """A subscription, awaited. It delivers with every transition, changed or not, and may skip
    results that were replaced by newer ones."""

    def __init__(self, client, path, args=None):
        self.subscription = client.subscribe(path, args)
        self.last = None

    async def next(self):
        """The next result."""
        what = self.subscription.__anext__()
        self.last = await asyncio.wait_for(what, WAIT_SECONDS_MAX)
        return self.last

    async def until(self, accept):
        """The first result from here on with which `accept` agrees."""
        try:
            while not accept(await self.next()):
                pass
        except asyncio.TimeoutError:
            raise AssertionError(f"waited in vain; last result: {self.last}") from None
        return self.last


def page(conversation, size=1000, cursor=None):
    """Arguments of `messages:list`."""
    options = {"numItems": size, "cursor": cursor}
    return {"conversationId": conversation, "paginationOpts": options}


def bodies(result):
    return [message["body"] for message in result["page"]]
