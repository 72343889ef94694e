"""Subscriptions: updates of others, one's own writes, several at once, one snapshot."""

import asyncio

from harness.suite import WAIT_SECONDS_MAX, Suite, Watch, bodies, page

OWN_WRITES = 200
MOVES = 40
LONG_BODY = "\u00e4\U0001f600" * 60_000


class Subscribe(Suite):
    async def test_a_client_sees_what_another_one_writes(self):
        proxy = self.proxy()
        alice, bob = self.client("alice"), self.client("bob", via=proxy)
        conversation = self.conversation(alice, "bob")
        messages = Watch(bob, "messages:list", page(conversation))
        self.assertEqual(bodies(await messages.next()), [])
        message = self.send(alice, conversation, "hi")
        result = await messages.until(lambda result: result["page"])
        self.assertIs(result["isDone"], True)
        self.assertIsInstance(result["continueCursor"], str)
        [shown] = result["page"]
        self.assertIsInstance(shown.pop("_creationTime"), float)
        expected = {"_id": message, "authorId": self.user_id("alice"), "body": "hi"}
        self.assertEqual(shown, {**expected, "conversationId": conversation})
        self.assertEqual(proxy.connections(), 1)

    async def test_a_mutation_is_in_the_view_when_it_returns(self):
        proxy = self.proxy()
        alice = self.client("alice", via=proxy)
        conversation = self.conversation(alice)
        messages = Watch(alice, "messages:list", page(conversation))
        await messages.next()
        for n in range(OWN_WRITES):
            message = self.send(alice, conversation, str(n))
            # A query that is subscribed to answers from what the client holds.
            newest = alice.query("messages:list", page(conversation))["page"]
            self.assertEqual((newest[0]["_id"], len(newest)), (message, n + 1))
        # The client opens a new connection whenever a message breaks the rules it checks.
        self.assertEqual(proxy.connections(), 1)

    async def test_several_subscriptions_each_get_their_own(self):
        alice = self.client("alice")
        here, there = self.conversation(alice), self.conversation(alice)
        watches = {
            "here": Watch(alice, "messages:list", page(here)),
            "there": Watch(alice, "messages:list", page(there)),
            "again": Watch(alice, "messages:list", page(here)),
            "list": Watch(alice, "conversations:list"),
        }
        for watch in watches.values():
            await watch.next()
        ids = [watch.subscription.id for watch in watches.values()]
        self.assertEqual(len(set(ids)), 4)
        self.send(alice, here, "x")
        for name in ["here", "again"]:
            await watches[name].until(lambda result: bodies(result) == ["x"])
        await watches["list"].until(lambda result: [c["_id"] for c in result] == [here, there])
        self.assertEqual(bodies(alice.query("messages:list", page(there))), [])

        watches["here"].subscription.unsubscribe()
        self.send(alice, here, "y")
        await watches["again"].until(lambda result: bodies(result) == ["y", "x"])
        watches["again"].subscription.unsubscribe()
        self.send(alice, here, "z")
        fresh = Watch(alice, "messages:list", page(here))
        self.assertEqual(bodies(await fresh.next()), ["z", "y", "x"])

    async def test_all_queries_of_a_client_are_one_snapshot(self):
        proxy = self.proxy()
        bob = self.client("bob", via=proxy)
        alice = self.http("alice")
        rooms = [self.conversation(alice, "bob") for _ in range(2)]

        def move(n):
            args = {"conversationId": rooms[n % 2], "status": "online"}
            alice.mutation("presence:setPresence", args)

        move(0)
        queries = ["presence:getPresence", "presence:getPresence", "messages:list"]
        arguments = [*({"conversationId": room} for room in rooms), page(rooms[0])]
        watches = [Watch(bob, *query) for query in zip(queries, arguments)]
        for watch in watches:
            await watch.next()
        ids = [watch.subscription.id for watch in watches]
        views = bob.watch_all()

        async def walk():
            for n in range(1, MOVES + 1):
                await asyncio.to_thread(move, n)
            await asyncio.to_thread(self.send, alice, rooms[0], "end")

        walking = asyncio.ensure_future(walk())
        seen = 0
        while True:
            view = await asyncio.wait_for(views.__anext__(), WAIT_SECONDS_MAX)
            first, second, messages = (view[id] for id in ids)
            self.assertEqual(len(first) + len(second), 1)
            seen += 1
            if messages["page"]:
                break
        await walking
        self.assertGreater(seen, 1)
        self.assertEqual(proxy.connections(), 1)

    async def test_a_query_that_fails_leaves_its_neighbours_alone(self):
        alice = self.client("alice")
        conversation = self.conversation(alice)
        good = Watch(alice, "messages:list", page(conversation))
        await good.next()
        for path, args, text in [
            ("presence:getPresence", {"conversationId": 7}, "ArgumentValidationError"),
            ("presence:nothing", {}, "Could not find public function for 'presence:nothing'"),
            ("messages:send", {}, "Trying to execute messages.js:send as Query"),
        ]:
            with self.assertRaisesRegex(Exception, text):
                await Watch(alice, path, args).next()
        self.send(alice, conversation, "still here")
        await good.until(lambda result: bodies(result) == ["still here"])

    async def test_a_long_text_arrives_whole(self):
        alice, bob = self.client("alice"), self.client("bob")
        conversation = self.conversation(alice, "bob")
        messages = Watch(bob, "messages:list", page(conversation))
        await messages.next()
        self.send(alice, conversation, LONG_BODY)
        await messages.until(lambda result: result["page"])
        self.assertEqual(bodies(messages.last), [LONG_BODY])
        result = self.http("bob").query("messages:list", page(conversation))
        self.assertEqual(bodies(result), [LONG_BODY])
