"""Actions, and functions that throw data: what the presence application does not have."""

from convex import ConvexError

from harness.server import BaseServer
from harness.suite import Suite, Watch

CALLS = 20


class Actions(Suite):
    make_server = BaseServer

    def both(self, test):
        """The WebSocket and the HTTP client, each with a counter of its own."""
        ways = {"websocket": self.anonymous(), "http": self.http()}
        return [(client, {"name": f"{test} {way}"}) for way, client in ways.items()]

    async def test_an_action_runs_a_mutation_and_watchers_see_it(self):
        for client, counter in self.both("act"):
            watch = Watch(self.anonymous(), "counters:count", counter)
            self.assertIsNone(await watch.next())
            for n in range(1, CALLS + 1):
                self.assertEqual(client.action("counters:act", counter), n)
            await watch.until(lambda value: value == CALLS)

    async def test_what_a_function_throws_arrives_with_its_data(self):
        for client, counter in self.both("throw"):
            missing = {"code": "missing", **counter}
            for call, path, data, after in [
                ("query", "counters:strict", missing, None),
                ("mutation", "counters:fail", {"value": 0}, None),
                ("action", "counters:actAndThrow", {"code": "thrown"}, 1),
                ("mutation", "counters:fail", {"value": 1}, 1),
            ]:
                with self.subTest(path=path), self.assertRaises(ConvexError) as raised:
                    getattr(client, call)(path, counter)
                self.assertEqual(raised.exception.data, data)
                self.assertEqual(client.query("counters:count", counter), after)

    async def test_a_subscription_fails_with_data_and_recovers(self):
        client, other = self.anonymous(), self.http()
        counter = {"name": "recovers"}
        watch = Watch(client, "counters:strict", counter)
        with self.assertRaises(ConvexError) as raised:
            await watch.next()
        self.assertEqual(raised.exception.data["code"], "missing")
        other.mutation("counters:incr", counter)
        await watch.until(lambda value: value == 1)

    async def test_an_action_in_flight_is_sent_again_when_the_connection_is_lost(self):
        proxy = self.proxy()
        client = self.anonymous(via=proxy)
        counter = {"name": "in flight"}
        proxy.cut_at('"type":"ActionResponse"')
        self.assertEqual(client.action("counters:act", counter), 2)
        self.assertEqual(proxy.connections(), 2)

    async def test_wrong_calls(self):
        for client, counter in self.both("wrong"):
            for call, path, args, text in [
                ("action", "counters:act", {"name": 1}, "ArgumentValidationError"),
                ("action", "counters:incr", counter, "as Action, but it is defined as Mutation."),
                ("mutation", "counters:act", counter, "as Mutation, but it is defined as Action."),
                ("query", "counters:act", counter, "as Query, but it is defined as Action."),
            ]:
                with self.assertRaises(Exception) as raised:
                    getattr(client, call)(path, args)
                self.assertIn(text, str(raised.exception))
            self.assertIsNone(client.query("counters:count", counter))
