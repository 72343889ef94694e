"""Lost connections and lost servers. This client opens each socket with a new session, so that a
mutation whose answer was lost runs again; nothing is lost, and every view recovers."""

import asyncio
import random

from harness.suite import Suite, Watch, bodies, page

SEED = 7
CUTS = 6
MESSAGES = 40
DELAY_MS = 30


class Reconnect(Suite):
    async def watch(self, name, conversation, via):
        client = self.client(name, via)
        messages = Watch(client, "messages:list", page(conversation))
        await messages.until(lambda result: result["isDone"])
        return client, messages

    async def test_subscriptions_go_on_after_a_cut(self):
        proxy = self.proxy()
        alice = self.client("alice")
        conversation = self.conversation(alice, "bob")
        bob, messages = await self.watch("bob", conversation, proxy)
        conversations = Watch(bob, "conversations:list")
        await conversations.next()
        for n in range(1, 4):
            proxy.cut()
            self.send(alice, conversation, str(n))
            await messages.until(lambda result: len(result["page"]) == n)
            other = self.conversation(alice, "bob")
            await conversations.until(lambda result: result[0]["_id"] == other)
        self.assertEqual(proxy.connections(), 4)

    async def test_what_was_missed_during_an_outage_is_seen_after_it(self):
        proxy = self.proxy()
        alice = self.client("alice")
        conversation = self.conversation(alice, "bob")
        bob, messages = await self.watch("bob", conversation, proxy)
        dropped = Watch(bob, "conversations:list")
        await dropped.next()
        proxy.refuse(-1)
        proxy.cut()
        self.send(alice, conversation, "missed")
        dropped.subscription.unsubscribe()
        proxy.wait_attempts(4)
        proxy.refuse(0)
        await messages.until(lambda result: bodies(result) == ["missed"])
        late = Watch(bob, "conversations:list")
        self.assertEqual(len(await late.until(bool)), 1)

    async def test_calls_during_an_outage_happen_after_it(self):
        proxy = self.proxy()
        alice = self.client("alice", via=proxy)
        conversation = self.conversation(alice)
        messages = Watch(alice, "messages:list", page(conversation))
        await messages.next()
        for n in range(3):
            proxy.refuse(2)
            proxy.cut()
            self.send_once(alice, conversation, str(n))
            await messages.until(lambda result: len(result["page"]) == n + 1)
        self.assertEqual(bodies(messages.last), ["2", "1", "0"])
        self.assertEqual(proxy.attempts() - proxy.connections(), 6)

    async def test_either_side_half_closes(self):
        for side in ["client", "server"]:
            with self.subTest(side=side):
                proxy = self.proxy()
                alice = self.client("alice")
                conversation = self.conversation(alice, "bob")
                bob, messages = await self.watch("bob", conversation, proxy)
                proxy.half_close(side)
                self.send(alice, conversation, "x")
                proxy.wait_connections(2)
                await messages.until(lambda result: bodies(result) == ["x"])
                self.send(bob, conversation, "y")
                self.assertEqual(bodies(messages.last), ["x"])
                await messages.until(lambda result: bodies(result) == ["y", "x"])

    async def test_a_mutation_whose_answer_was_lost_runs_again(self):
        proxy = self.proxy()
        alice = self.client("alice", via=proxy)
        conversation = self.conversation(alice)
        for losses in [1, 2]:
            proxy.cut_at('"type":"MutationResponse"', losses)
            message = self.send(alice, conversation, "x")
            sent = [id for id, _ in self.stored("alice", conversation)]
            self.assertEqual((len(sent), sent[-1]), (losses + 1, message))
            for id in sent:
                alice.mutation("messages:remove", {"messageId": id})

    async def test_an_answer_without_its_transition(self):
        # The client holds a mutation back until the next transition. When the connection is cut
        # between the two, it asks again on the next one.
        proxy = self.proxy()
        alice = self.client("alice", via=proxy)
        conversation = self.conversation(alice)
        messages = Watch(alice, "messages:list", page(conversation))
        await messages.next()
        proxy.cut_at('"type":"QueryUpdated"')
        message = self.send(alice, conversation, "x")
        await messages.until(lambda result: message in [one["_id"] for one in result["page"]])
        self.assertEqual(proxy.connections(), 2)

    async def test_connections_cut_anywhere_lose_nothing(self):
        draw = random.Random(SEED)
        proxy = self.proxy()
        alice = self.client("alice", via=proxy)
        conversation = self.conversation(alice)
        messages = Watch(alice, "messages:list", page(conversation, 3))
        await messages.next()
        # From inside the answer to the upgrade to some messages later.
        proxy.cut_after([draw.randrange(1, 6000) for _ in range(CUTS)])
        proxy.cut()
        ids = [self.send_once(alice, conversation, str(n)) for n in range(MESSAGES)]
        last = self.send(alice, conversation, str(MESSAGES))
        self.assertGreater(proxy.connections(), CUTS)
        await messages.until(lambda result: result["page"][0]["_id"] == last)
        stored = self.stored("alice", conversation)
        # What was answered is there, in the order of the answers.
        places = [stored.index((id, str(n))) for n, id in enumerate(ids) if id is not None]
        self.assertEqual(places, sorted(places))
        # The rest is there too; what the client sends again comes in an order of its own.
        self.assertEqual({int(body) for _, body in stored}, set(range(MESSAGES + 1)))

    async def test_a_slow_line_ends_at_the_newest_state(self):
        proxy = self.proxy()
        alice = self.http("alice")
        conversation = self.conversation(alice, "bob")
        bob, messages = await self.watch("bob", conversation, proxy)
        proxy.delay(DELAY_MS)
        sends = [asyncio.to_thread(self.send, alice, conversation, str(n)) for n in range(MESSAGES)]
        sending = asyncio.gather(*sends)
        lengths = []
        while not lengths or lengths[-1] < MESSAGES:
            lengths.append(len((await messages.next())["page"]))
        await sending
        self.assertEqual(lengths, sorted(lengths), "a step back")
        message = self.send(bob, conversation, "mine")
        newest = await messages.until(lambda result: bodies(result)[0] == "mine")
        self.assertEqual(newest["page"][0]["_id"], message)
        self.assertEqual(proxy.connections(), 1)


class Restart(Suite):
    """Each of these tests ends the server."""

    async def test_subscriptions_and_data_survive_a_kill(self):
        people = {name: self.client(name) for name in ["alice", "bob"]}
        conversation = self.conversation(people["alice"], "bob")
        self.send(people["alice"], conversation, "before")
        lists = [Watch(client, "messages:list", page(conversation)) for client in people.values()]
        presences = [
            Watch(client, "presence:getPresence", {"conversationId": conversation})
            for client in people.values()
        ]
        for watch in lists + presences:
            await watch.next()
        for n in range(3):
            self.server.kill()
            self.server.restart()
            status = {"conversationId": conversation, "status": ["typing", "online"][n % 2]}
            people["bob"].mutation("presence:setPresence", status)
            message = self.send(people["alice"], conversation, f"after {n}")
            for messages in lists:
                await messages.until(lambda result: result["page"][0]["_id"] == message)
            for presence in presences:
                await presence.until(lambda result: result[0]["status"] == status["status"])
        expected = ["before", "after 0", "after 1", "after 2"]
        self.assertEqual([body for _, body in self.stored("bob", conversation)], expected)

    async def test_an_orderly_stop_loses_nothing(self):
        alice = self.client("alice")
        conversation = self.conversation(alice)
        messages = Watch(alice, "messages:list", page(conversation))
        first = self.send(alice, conversation, "x")
        self.assertEqual(self.server.stop(), 0)
        self.server.restart()
        second = self.send(alice, conversation, "y")
        ids = [second, first]
        await messages.until(lambda result: [one["_id"] for one in result["page"]] == ids)
