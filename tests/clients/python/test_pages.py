"""Pages, by cursor and by hand: this client has no other way."""

from convex import ConvexError

from harness.suite import Suite, Watch, bodies, page

COUNT = 12


class Pages(Suite):
    def fill(self, client, conversation, count=COUNT):
        return [self.send(client, conversation, str(n)) for n in range(count)]

    def walk(self, client, conversation, size):
        """All pages from the start."""
        pages, cursor, done = [], None, False
        while not done:
            result = client.query("messages:list", page(conversation, size, cursor))
            pages.append(bodies(result))
            cursor, done = result["continueCursor"], result["isDone"]
            self.assertLessEqual(len(pages), COUNT + 1, "the walk does not end")
        return pages

    async def test_walking_by_cursor_meets_every_message_once(self):
        alice = self.client("alice")
        conversation = self.conversation(alice)
        self.assertEqual(sum(self.walk(alice, conversation, 3), []), [])
        self.fill(alice, conversation)
        newest_first = [str(n) for n in reversed(range(COUNT))]
        for client in [alice, self.http("alice")]:
            for size in [1, 5, COUNT, 100]:
                pages = self.walk(client, conversation, size)
                self.assertEqual(sum(pages, []), newest_first)
                self.assertTrue(all(len(one) <= size for one in pages))

    async def test_a_cursor_outlives_its_message_and_its_client(self):
        alice = self.client("alice")
        conversation = self.conversation(alice, "bob")
        ids = self.fill(alice, conversation)
        first = alice.query("messages:list", page(conversation, 5))
        self.assertEqual(bodies(first), ["11", "10", "9", "8", "7"])
        for n in [7, 6]:
            alice.mutation("messages:remove", {"messageId": ids[n]})
        for client in [alice, self.client("bob"), self.http("bob")]:
            second = client.query("messages:list", page(conversation, 5, first["continueCursor"]))
            self.assertEqual(bodies(second), ["5", "4", "3", "2", "1"])
            self.assertIs(second["isDone"], False)

    async def test_a_cursor_of_another_list_is_recognised(self):
        alice = self.client("alice")
        here, there = self.conversation(alice), self.conversation(alice)
        self.fill(alice, here)
        cursor = alice.query("messages:list", page(here, 5))["continueCursor"]
        for client in [alice, self.http("alice")]:
            for bad in [cursor, "broken", ""]:
                with self.assertRaises(ConvexError) as raised:
                    client.query("messages:list", page(there, 5, bad))
                self.assertEqual(raised.exception.data["paginationError"], "InvalidCursor")

    async def test_a_live_page_keeps_its_end(self):
        alice = self.client("alice")
        conversation = self.conversation(alice)
        self.fill(alice, conversation)
        first = Watch(alice, "messages:list", page(conversation, 5))
        cursor = (await first.next())["continueCursor"]
        second = Watch(alice, "messages:list", page(conversation, 5, cursor))
        self.assertEqual(bodies(await second.next()), ["6", "5", "4", "3", "2"])
        self.send(alice, conversation, "12")
        grown = await first.until(lambda result: bodies(result)[0] == "12")
        self.assertEqual(bodies(grown), ["12", "11", "10", "9", "8", "7"], "no gap, no overlap")
        self.assertEqual(bodies(alice.query("messages:list", page(conversation, 5, cursor))),
                         ["6", "5", "4", "3", "2"])
