"""Identity: signing in and out, admin keys, tokens that are refused, tokens that expire."""

import asyncio

from harness.server import Server
from harness.suite import Suite, Watch

SHORT_TTL_SECONDS = 1
# The server accepts a token for some seconds more.
LIFE_SECONDS_MAX = 15
CALLS_PER_SECOND = 25
REFUSALS = 3
QUIET_SECONDS = 0.5


def forged(token):
    """A token whose signature does not fit."""
    head, claims, signature = token.split(".")
    first = "B" if signature[0] == "A" else "A"
    return ".".join([head, claims, first + signature[1:]])


class Auth(Suite):
    async def test_signing_in_and_out_and_as_another(self):
        proxy = self.proxy()
        ids = {name: self.conversation(self.client(name)) for name in ["alice", "bob"]}
        client = self.anonymous(via=proxy)
        conversations = Watch(client, "conversations:list")
        self.assertEqual(await conversations.next(), [])
        with self.assertRaisesRegex(Exception, "Uncaught Error: Not authenticated"):
            self.conversation(client)
        for _ in range(2):
            for name, id in ids.items():
                client.set_auth(self.token(name))
                await conversations.until(lambda result: [c["_id"] for c in result] == [id])
            client.clear_auth()
            await conversations.until(lambda result: result == [])
            with self.assertRaisesRegex(Exception, "Uncaught Error: Not authenticated"):
                self.conversation(client)
        self.assertEqual(proxy.connections(), 1)

    async def test_what_is_asked_right_after_signing_in_runs_as_that_user(self):
        client = self.anonymous()
        for name in ["alice", "bob", "alice", "bob"]:
            client.set_auth(self.token(name))
            id = self.conversation(client)
            newest = client.query("conversations:list")[0]
            self.assertEqual((newest["_id"], newest["memberIds"]), (id, [self.user_id(name)]))

    async def test_an_admin_reaches_internal_functions(self):
        for client in [self.anonymous(), self.http()]:
            client.set_admin_auth(self.server.admin_key())
            self.assertIsNone(client.mutation("presence:cleanupPresence"))

    async def test_a_reconnect_keeps_the_identity(self):
        proxy = self.proxy()
        alice = self.client("alice", via=proxy)
        conversations = Watch(alice, "conversations:list")
        first = self.conversation(alice)
        proxy.cut()
        proxy.wait_connections(2)
        second = self.conversation(self.http("alice"))
        await conversations.until(lambda result: [c["_id"] for c in result] == [second, first])
        self.assertEqual(proxy.connections(), 2)

    async def test_a_refused_token_is_refused_as_often_as_it_comes(self):
        # The client sends it again and again, each time later. A new token would not help soon: the
        # client counts a refusal twice, as a message and as the close that follows it, and drops
        # connections that were good. So nothing here waits for a refused client to recover.
        other = Server()
        foreign = other.token(self.user_id("alice"))
        other.close()
        genuine = self.token("alice")
        proxies, clients = {}, []
        for bad in ["nonsense", "a.b.c", forged(genuine), foreign]:
            proxies[bad] = self.proxy()
            clients.append(self.anonymous(via=proxies[bad]))
            clients[-1].set_auth(bad)
        for bad, proxy in proxies.items():
            with self.subTest(token=bad):
                proxy.wait_ended(REFUSALS)
        self.assertIsInstance(self.conversation(self.client("alice")), str)

    async def test_a_token_expires_unless_it_is_renewed(self):
        alice = self.http("alice")
        conversation = self.conversation(alice, "bob")
        args = {"conversationId": conversation}
        status = {**args, "status": "online"}
        alice.mutation("presence:setPresence", status)
        proxies = {"renewed": self.proxy(), "stale": self.proxy()}
        clients = {name: self.anonymous(via=proxy) for name, proxy in proxies.items()}
        watches = {}
        for name, client in clients.items():
            client.set_auth(self.token("bob", ttl=SHORT_TTL_SECONDS))
            watches[name] = Watch(client, "presence:getPresence", args)
            await watches[name].until(bool)
        clients["renewed"].set_auth(self.token("bob"))

        calls = 0
        while proxies["stale"].connections() == 1:
            alice.mutation("presence:setPresence", status)
            await asyncio.sleep(1 / CALLS_PER_SECOND)
            calls += 1
            self.assertLess(calls, LIFE_SECONDS_MAX * CALLS_PER_SECOND, "it outlived its time")
        alice.mutation("presence:setPresence", {**args, "status": "typing"})
        proxies["stale"].wait_ended(REFUSALS)
        await watches["renewed"].until(lambda result: result[0]["status"] == "typing")
        self.send(clients["renewed"], conversation, "still here")
        self.assertEqual(proxies["renewed"].connections(), 1)
        # What was on its way before the expiry is shown, and nothing after it.
        with self.assertRaises(asyncio.TimeoutError):
            while True:
                late = anext(watches["stale"].subscription)
                [shown] = await asyncio.wait_for(late, QUIET_SECONDS)
                self.assertEqual(shown["status"], "online")
