"""The HTTP client."""

import asyncio

from harness.suite import Suite, Watch, bodies, page
from test_auth import forged

WRITERS = 20


class Http(Suite):
    async def test_queries_and_mutations(self):
        http, alice = self.http("alice"), self.client("alice")
        conversation = self.conversation(http)
        messages = Watch(alice, "messages:list", page(conversation))
        await messages.next()
        ids = [self.send(http, conversation, body) for body in "abc"]
        result = http.query("messages:list", page(conversation))
        self.assertEqual([message["_id"] for message in result["page"]], ids[::-1])
        await messages.until(lambda result: len(result["page"]) == 3)
        self.assertEqual(messages.last["page"], result["page"], "both ways give the same values")
        self.assertIsNone(http.mutation("messages:remove", {"messageId": ids[0]}))

    async def test_mutations_side_by_side(self):
        http = self.http("alice")
        conversation = self.conversation(http)
        sends = (asyncio.to_thread(self.send, http, conversation, str(n)) for n in range(WRITERS))
        await asyncio.gather(*sends)
        result = http.query("messages:list", page(conversation))
        self.assertEqual(sorted(map(int, bodies(result))), list(range(WRITERS)))

    async def test_identity_comes_and_goes_with_the_token(self):
        http = self.http()
        self.assertEqual(http.query("conversations:list"), [])
        with self.assertRaisesRegex(Exception, "Uncaught Error: Not authenticated"):
            self.conversation(http)
        http.set_auth(self.token("alice"))
        id = self.conversation(http)
        self.assertEqual([one["_id"] for one in http.query("conversations:list")], [id])
        http.clear_auth()
        self.assertEqual(http.query("conversations:list"), [])

    async def test_a_bad_token_fails_the_request_before_the_function_runs(self):
        for token in ["nonsense", "a.b.c", forged(self.token("alice"))]:
            http = self.http()
            http.set_auth(token)
            with self.assertRaisesRegex(Exception, r"^401 \w+: "):
                http.query("conversations:list")
        http = self.http()
        http.set_admin_auth("nonsense")
        with self.assertRaisesRegex(Exception, r"^4\d\d \w+: "):
            http.query("conversations:list")
