"""Errors, and values on their way to the server: the application echoes what does not fit."""

from convex import ConvexError, ConvexInt64

from harness.suite import Suite, page

NOT_FOUND = "Could not find public function for '{}'"
VALUES = [
    (ConvexInt64(2**63 - 1), "9223372036854775807"),
    (ConvexInt64(-(2**63)), "-9223372036854775808"),
    (b"\x00\xff", 'b"AP8="'),
    (5, "5.0"),
    (2**53, "9007199254740992.0"),
    (0.1, "0.1"),
    (-0.0, "-0.0"),
    (float("nan"), "NaN"),
    (float("inf"), "inf"),
    (float("-inf"), "-inf"),
    (True, "true"),
    (None, "null"),
    ((1, "a"), '[1.0, "a"]'),
    ({"k": b"", "l": ConvexInt64(0)}, '{k: b"", l: 0}'),
]


class Errors(Suite):
    def both(self, name):
        """The WebSocket and the HTTP client of one user."""
        return [("websocket", self.client(name)), ("http", self.http(name))]

    async def test_values_reach_the_server_as_they_are(self):
        for way, client in self.both("alice"):
            conversation = self.conversation(client)
            for value, text in VALUES:
                with self.subTest(way=way, value=value):
                    with self.assertRaises(Exception) as raised:
                        self.send(client, conversation, value)
                    self.assertIn(f"Path: .body\nValue: {text}\n", str(raised.exception))
                    self.assertNotIsInstance(raised.exception, ConvexError)

    async def test_plain_errors(self):
        own = {"conversationId": self.conversation(self.client("alice"))}
        foreign = {"conversationId": self.conversation(self.client("bob")), "body": "x"}
        internal = NOT_FOUND.format("presence:cleanupPresence")
        for way, client in self.both("alice"):
            for call, path, args, text in [
                ("mutation", "messages:send", foreign, "Uncaught Error: Not a member"),
                ("mutation", "messages:send", own, "`body`"),
                ("mutation", "messages:nothing", None, NOT_FOUND.format("messages:nothing")),
                ("mutation", "presence:cleanupPresence", None, internal),
                ("query", "presence:cleanupPresence", None, internal),
                ("action", "presence:cleanupPresence", None, internal),
                ("action", "nowhere:nothing", None, NOT_FOUND.format("nowhere:nothing")),
                ("action", "messages:send", None, "as Action, but it is defined as Mutation."),
                ("query", "messages:send", None, "as Query, but it is defined as Mutation."),
                ("mutation", "conversations:list", None, "but it is defined as Query."),
            ]:
                with self.subTest(way=way, call=call, path=path):
                    with self.assertRaises(Exception) as raised:
                        getattr(client, call)(path, args)
                    self.assertNotIsInstance(raised.exception, ConvexError)
                    self.assertRegex(str(raised.exception), r"^\[Request ID: \w+\] Server Error")
                    self.assertIn(text, str(raised.exception))
            self.assertEqual(len(client.query("conversations:list")), 1)

    async def test_an_error_with_data_keeps_its_data(self):
        expected = {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        for way, client in self.both("alice"):
            conversation = self.conversation(client)
            with self.subTest(way=way), self.assertRaises(ConvexError) as raised:
                client.query("messages:list", page(conversation, cursor="broken"))
            self.assertEqual({**raised.exception.data, **expected}, raised.exception.data)
            # The connection lives on.
            self.assertEqual(client.query("messages:list", page(conversation))["page"], [])
