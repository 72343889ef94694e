// Every fault of a line, at the worst moment of everything a client does: the mutation in flight
// happens once, the subscriber misses nothing, the user stays signed in, the list has no gap.

import assert from "node:assert/strict";
import { api, connectionState, deferred, Watch, within } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const LATE_MS = 40;

const page = (conversationId, numItems = 100, cursor = null) => ({
  conversationId,
  paginationOpts: { numItems, cursor },
});
const bodies = (messages) => messages.map(({ body }) => Number(body));
const newestFirst = (from, to = 0) => Array.from({ length: from - to + 1 }, (_, n) => from - n);

// What happens to the first frame that is struck: to the client's, and to the server's.
const FAULTS = {
  "is lost, with a reset": () => ({ cutAfter: 0 }),
  "is cut after a byte": () => ({ cutAfter: 1 }),
  "is cut inside its head": () => ({ cutAfter: 3 }),
  "is cut in the middle": (message) => ({ cutAfter: JSON.stringify(message).length >> 1 }),
  "meets an end of both sides": () => ({ drop: true }),
  "meets the end of what the server sends": () => ({ halfClose: "client" }),
  "meets the end of what the client sends": () => ({ halfClose: "server" }),
  "falls into a hole that ends with a reset": (_, connection) => {
    setTimeout(() => connection.cut(), LATE_MS);
    return { hold: true };
  },
};

// Has `fault` strike the first frame with which `strikes` agrees, of the client or of the server.
function strike(proxy, from, strikes, fault) {
  const struck = deferred();
  const gate = from === "client" ? "clientGate" : "gate";
  proxy[gate] = (message, connection) => {
    if (!strikes(message)) return undefined;
    proxy[gate] = undefined;
    struck.resolve();
    return fault(message, connection);
  };
  return within(struck.promise, "the frame that is struck");
}

const isType = (type) => (message) => message.type === type;
const changes = (message) =>
  message.type === "Transition" &&
  message.modifications.some(({ type, value }) => type === "QueryUpdated" && value !== undefined);
const shows = (text) => (message) => changes(message) && JSON.stringify(message).includes(text);

// Runs `body` for each fault, side by side, each with a proxy of its own.
async function withEach(stage, sides, body) {
  const cases = Object.entries(FAULTS).flatMap(([name, fault]) =>
    Object.entries(sides).map(([from, strikes]) => ({ name, fault, from, strikes })),
  );
  await Promise.all(
    cases.map(async ({ name, fault, from, strikes }, n) => {
      const proxy = await stage.proxy();
      const replaced = deferred();
      proxy.onConnection = ({ serial }) => serial === 1 && replaced.resolve();
      try {
        await body({ proxy, n, strike: () => strike(proxy, from, strikes, fault) });
        await within(replaced.promise, "another connection");
        for (const journal of proxy.journals) checkConnection(journal, { complete: false });
      } catch (error) {
        error.message = `the ${from}'s frame ${name}: ${error.message}`;
        throw error;
      }
    }),
  );
}

suite(
  "faults",
  (test) => {
    test("a mutation in flight happens once", async (stage) => {
      const sides = { client: isType("Mutation"), server: isType("MutationResponse") };
      await withEach(stage, sides, async ({ proxy, n, strike }) => {
        const client = await stage.as(`alice${n}`, { via: proxy });
        const conversationId = await stage.conversation(client);
        const messages = new Watch(client, api.messages.list, page(conversationId));
        await messages.until(() => true);
        const struck = strike();
        const sent = [0, 1, 2].map((body) =>
          client.mutation(api.messages.send, { conversationId, body: `${body}` }),
        );
        await struck;
        const ids = await Promise.all(sent);
        assert.deepEqual(messages.last.page.map(({ _id }) => _id).reverse(), ids);
        const http = await stage.http(`alice${n}`);
        const { page: stored } = await http.query(api.messages.list, page(conversationId));
        assert.deepEqual(bodies(stored), [2, 1, 0]);
      });
    });

    test("a mutation whose transition was lost happens once", async (stage) => {
      await withEach(stage, { server: shows('"once"') }, async ({ proxy, n, strike }) => {
        const client = await stage.as(`alice${n}`, { via: proxy });
        const conversationId = await stage.conversation(client);
        const messages = new Watch(client, api.messages.list, page(conversationId));
        await messages.until(() => true);
        const struck = strike();
        const sent = client.mutation(api.messages.send, { conversationId, body: "once" });
        await struck;
        const id = await sent;
        assert.deepEqual(
          messages.last.page.map(({ _id }) => _id),
          [id],
        );
      });
    });

    test("a subscriber misses nothing", async (stage) => {
      await withEach(stage, { server: shows('"body":"1"') }, async ({ proxy, n, strike }) => {
        const alice = await stage.as(`alice${n}`);
        const bob = await stage.as(`bob${n}`, { via: proxy });
        const conversationId = await stage.conversation(alice, bob);
        const messages = new Watch(bob, api.messages.list, page(conversationId));
        const presence = new Watch(bob, api.presence.getPresence, { conversationId });
        await Promise.all([messages, presence].map((watch) => watch.until(() => true)));
        const struck = strike();
        for (let body = 0; body < 4; body++) {
          await alice.mutation(api.messages.send, { conversationId, body: `${body}` });
        }
        await alice.mutation(api.presence.setPresence, { conversationId, status: "typing" });
        await struck;
        const all = await messages.until((result) => result.page.length === 4);
        assert.deepEqual(bodies(all.page), [3, 2, 1, 0]);
        await presence.until((records) => records.length === 1);
        // One by one, by jumps, but never back.
        const lengths = messages.values.map((result) => result.page.length);
        assert.deepEqual(
          lengths,
          lengths.toSorted((a, b) => a - b),
        );
      });
    });

    test("a subscription that is being made or ended", async (stage) => {
      const alice = await stage.as("alice");
      const conversationId = await stage.conversation(alice);
      await alice.mutation(api.messages.send, { conversationId, body: "5" });
      const sides = {
        client: (message) => message.type === "ModifyQuerySet" && message.baseVersion >= 2,
        server: (message) =>
          message.type === "Transition" &&
          message.endVersion.querySet > message.startVersion.querySet,
      };
      const token = await stage.server.token(alice.userId);
      await withEach(stage, sides, async ({ proxy, strike }) => {
        const client = stage.anonymous({ via: proxy });
        client.setAuth(async () => token);
        const list = new Watch(client, api.conversations.list, {});
        await list.until((result) => result.length === 1);
        const gone = new Watch(client, api.presence.getPresence, { conversationId });
        await gone.until(() => true);
        const struck = strike();
        gone.stop();
        const messages = new Watch(client, api.messages.list, page(conversationId));
        assert.deepEqual(bodies((await messages.until(() => true)).page), [5]);
        await struck;
        await alice.query(api.conversations.list, {});
        const id = await client.mutation(api.presence.setPresence, { status: "online" });
        assert.equal(id, null);
        assert.equal(gone.values.length, 1);
      });
    });

    test("a token that is being renewed", async (stage) => {
      const sides = {
        client: (message) => message.type === "Authenticate" && message.baseVersion === 1,
        server: (message) => message.type === "Transition" && message.endVersion.identity === 2,
      };
      await withEach(stage, sides, async ({ proxy, n, strike }) => {
        const userId = stage.userId(`alice${n}`);
        const struck = strike();
        const client = stage.anonymous({ via: proxy });
        const list = new Watch(client, api.conversations.list, {});
        const changes = [];
        // Tokens with different lives are different tokens.
        let fetched = 0;
        client.setAuth(
          () => stage.server.token(userId, { ttl: 3600 + fetched++ }),
          (authenticated) => changes.push(authenticated),
        );
        await struck;
        const id = await stage.conversation(client);
        await list.until((result) => result.length === 1 && result[0]._id === id);
        assert(changes.length > 0 && changes.every(Boolean), `signed out: ${changes}`);
      });
    });

    test("a page that is being loaded", async (stage) => {
      const alice = await stage.as("alice");
      const conversationId = await stage.conversation(alice);
      for (let n = 0; n < 12; n++) {
        await alice.mutation(api.messages.send, { conversationId, body: `${n}` });
      }
      const token = await stage.server.token(alice.userId);
      const asksFor = ({ modifications }) =>
        modifications?.some(({ args }) => typeof args?.[0].paginationOpts?.cursor === "string");
      const sides = {
        client: (message) => message.type === "ModifyQuerySet" && asksFor(message),
        server: shows('"body":"6"'),
      };
      await withEach(stage, sides, async ({ proxy, strike }) => {
        const client = stage.anonymous({ via: proxy });
        client.setAuth(async () => token);
        const first = await client.query(api.messages.list, page(conversationId, 5));
        assert.deepEqual(bodies(first.page), newestFirst(11, 7));
        const struck = strike();
        const live = new Watch(
          client,
          api.messages.list,
          page(conversationId, 5, first.continueCursor),
        );
        const second = await live.until(() => true);
        await struck;
        assert.deepEqual(bodies(second.page), newestFirst(6, 2));
        const third = await client.query(
          api.messages.list,
          page(conversationId, 5, second.continueCursor),
        );
        assert.deepEqual([bodies(third.page), third.isDone], [newestFirst(1), true]);
      });
    });

    test("the handshake, and what comes with it", async (stage) => {
      const alice = await stage.as("alice");
      const conversationId = await stage.conversation(alice);
      const token = await stage.server.token(alice.userId);
      // From inside the request for the upgrade to inside the first results.
      const budgets = [1, 50, 180, 250, 330, 420, 600, 800, 1_000, 1_300, 1_700];
      await Promise.all(
        budgets.map(async (bytes) => {
          const proxy = await stage.proxy();
          let connections = 0;
          proxy.onConnection = (connection) => {
            if (connections++ === 0) connection.bytesMax = bytes;
          };
          const client = stage.anonymous({ via: proxy });
          client.setAuth(async () => token);
          const list = new Watch(client, api.conversations.list, {});
          await list.until((result) => result.length === 1);
          const status = { conversationId, status: "online" };
          await client.mutation(api.presence.setPresence, status);
          assert(connections > 1, `nothing was cut at ${bytes}`);
          checkConnection(proxy.journals.at(-1));
        }),
      );
    });

    for (const [name, arrange] of Object.entries({
      "a line that delivers single bytes": (proxy) => void (proxy.splitting = true),
      "a line that is late both ways": (proxy) => {
        proxy.delay_ms = LATE_MS;
        proxy.delayUp_ms = LATE_MS;
      },
      "a line that is late and delivers single bytes": (proxy) => {
        proxy.delay_ms = LATE_MS;
        proxy.delayUp_ms = LATE_MS >> 1;
        proxy.splitting = true;
      },
    })) {
      test(name, async (stage) => {
        const proxy = await stage.proxy();
        arrange(proxy);
        const [alice, bob] = [await stage.as("alice"), await stage.as("bob", { via: proxy })];
        const conversationId = await stage.conversation(alice, bob);
        const messages = new Watch(bob, api.messages.list, page(conversationId));
        await messages.until(() => true);
        const sends = [];
        for (let n = 0; n < 4; n++) {
          sends.push(alice.mutation(api.messages.send, { conversationId, body: `a${n}` }));
          sends.push(bob.mutation(api.messages.send, { conversationId, body: `b${n} ä😀` }));
        }
        const ids = await Promise.all(sends);
        await messages.until((result) => result.page.length === ids.length);
        assert.deepEqual(messages.last.page.map(({ _id }) => _id).sort(), ids.toSorted());
        const first = await bob.query(api.messages.list, page(conversationId, 5));
        const rest = await bob.query(
          api.messages.list,
          page(conversationId, 50, first.continueCursor),
        );
        assert.equal(first.page.length + rest.page.length, ids.length);
        // A new user on the same line.
        await new Promise((resolve) => {
          const carol = stage.server.token(stage.userId("carol"));
          bob.setAuth(() => carol, resolve);
        });
        await messages.until((result) => result.page.length === 0);
        assert.equal(proxy.journals.length, 1, "the connection stayed");
        checkConnection(proxy.journals[0]);
      });
    }

    test.since("1.22.0")("a line that comes and goes", async (stage) => {
      const proxy = await stage.proxy();
      const [alice, bob] = [await stage.as("alice"), await stage.as("bob", { via: proxy })];
      const conversationId = await stage.conversation(alice, bob);
      const messages = new Watch(bob, api.messages.list, page(conversationId));
      await messages.until(() => true);
      for (let n = 0; n < 3; n++) {
        proxy.cut();
        await connectionState(bob, (state) => !state.isWebSocketConnected, "the loss");
        await alice.mutation(api.messages.send, { conversationId, body: `${2 * n}` });
        await bob.mutation(api.messages.send, { conversationId, body: `${2 * n + 1}` });
        assert.deepEqual(bodies(messages.last.page), newestFirst(2 * n + 1));
      }
      assert.equal(proxy.journals.length, 4);
      proxy.journals
        .slice(1)
        .forEach((journal, n) => checkConnection(journal, { complete: n === 2 }));
    });
  },
  { concurrency: 4 },
);
