"""Lost connections and lost servers. This client opens each socket with a new session, so that a
mutation whose answer was lost runs again; nothing is lost, and every view recovers."""

import asyncio
import random

from harness.suite import Suite, Watch, bodies, page

SEED = 7
CUTS = 6
MESSAGES = 40
DELAY_MS = 30
SILENCE_SECONDS_MAX = 90


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

    async def test_a_request_that_is_cut_anywhere_happens_once(self):
        # From inside the request for the upgrade to inside the mutation. What the server did not get
        # whole did not happen, so that here sending it again is right.
        for budget in [1, 60, 250, 420, 700, 800, 860]:
            with self.subTest(bytes=budget):
                proxy = self.proxy()
                proxy.cut_after_sent([budget])
                alice = self.client("alice", via=proxy)
                conversation = self.conversation(self.http("alice"))
                sent = self.send_once(alice, conversation, "x" * 1000)
                self.send(alice, conversation, "end")
                stored = self.stored("alice", conversation)
                self.assertEqual([body[0] for _, body in stored], ["x", "e"])
                self.assertIn(sent, [None, stored[0][0]])
                self.assertEqual(proxy.connections(), 2)

    async def test_a_line_that_went_silent_is_given_up(self):
        # The client gives a silent connection 30 seconds; the server's pings are what it listens for.
        proxy = self.proxy()
        alice = self.client("alice")
        conversation = self.conversation(alice, "bob")
        _bob, messages = await self.watch("bob", conversation, proxy)
        proxy.hold()
        self.send(alice, conversation, "x")
        patience = asyncio.get_running_loop().time() + SILENCE_SECONDS_MAX
        while proxy.connections() == 1:
            self.assertLess(asyncio.get_running_loop().time(), patience, "it is not given up")
            await asyncio.sleep(0.1)
        await messages.until(lambda result: bodies(result) == ["x"])

    async def test_lines_that_are_late_or_deliver_single_bytes(self):
        for line in ["late", "single bytes"]:
            with self.subTest(line=line):
                proxy = self.proxy()
                if line == "late":
                    proxy.delay(DELAY_MS, DELAY_MS)
                alice = self.client("alice")
                conversation = self.conversation(alice, "bob")
                bob, messages = await self.watch("bob", conversation, proxy)
                if line == "single bytes":
                    # Not before: the client takes an answer to the upgrade in many small pieces for an
                    # attack.
                    proxy.split()
                for n in range(4):
                    self.send(alice, conversation, f"alice {n}")
                    self.send(bob, conversation, f"bob {n} \u00e4\U0001f600")
                await messages.until(lambda result: len(result["page"]) == 8)
                first = bob.query("messages:list", page(conversation, 5))
                rest = bob.query("messages:list", page(conversation, 5, first["continueCursor"]))
                self.assertEqual(bodies(first) + bodies(rest), bodies(messages.last))
                bob.clear_auth()
                await messages.until(lambda result: result["page"] == [])
                self.assertEqual(proxy.connections(), 1)

    async def test_a_token_that_is_being_renewed(self):
        for loss in ["before", "after"]:
            with self.subTest(loss=loss):
                proxy = self.proxy()
                bob = self.client("bob", via=proxy)
                conversations = Watch(bob, "conversations:list")
                await conversations.next()
                before = len(conversations.last)
                if loss == "before":
                    proxy.refuse(2)
                    proxy.cut()
                else:
                    proxy.cut_at('"identity":2')
                bob.set_auth(self.token("bob", ttl=3600))
                id = self.conversation(self.http("bob"))
                await conversations.until(lambda result: len(result) == before + 1)
                self.assertEqual(conversations.last[0]["_id"], id)
                proxy.wait_connections(2)
                self.assertIsInstance(self.conversation(bob), str)

    async def test_live_pages_go_on_after_a_cut_and_a_lost_page(self):
        proxy = self.proxy()
        alice = self.client("alice")
        conversation = self.conversation(alice, "bob")
        for n in range(12):
            self.send(alice, conversation, str(n))
        bob = self.client("bob", via=proxy)
        first = Watch(bob, "messages:list", page(conversation, 5))
        cursor = (await first.next())["continueCursor"]
        proxy.cut_at('"body":"6"')
        second = Watch(bob, "messages:list", page(conversation, 5, cursor))
        await second.until(lambda result: bodies(result) == ["6", "5", "4", "3", "2"])
        self.assertEqual(proxy.connections(), 2)
        proxy.cut()
        self.send(alice, conversation, "12")
        # This client keeps no journal of a page: after a cut a first page begins anew, with its size.
        await first.until(lambda result: bodies(result)[0] == "12")
        await second.next()
        self.assertEqual(bodies(first.last), ["12", "11", "10", "9", "8"])
        self.assertEqual(bodies(second.last), ["6", "5", "4", "3", "2"])

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
