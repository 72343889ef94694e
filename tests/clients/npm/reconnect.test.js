// Lost connections and lost servers: what was asked happens once, and every view recovers.

import assert from "node:assert/strict";
import { api, assertQuiet, connectionState, deferred, Watch, within } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const CLIENTS = 6;
const LOST_RESPONSES = 4;
const RANDOM_CUTS = 4;
const MESSAGES = 60;
const IN_FLIGHT = 4;

const page = (conversationId, numItems = 1_000) => ({
  conversationId,
  paginationOpts: { numItems, cursor: null },
});

// Numbers of a seed (mulberry32), so that a failed run can be repeated: SEED=… make test.
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Every message of the conversation as [id, body], oldest first, read by a client of its own.
async function stored(stage, name, conversationId) {
  const { page: messages } = await (
    await stage.http(name)
  ).query(api.messages.list, page(conversationId));
  return messages.map(({ _id, body }) => [_id, body]).reverse();
}

suite("reconnect", (test) => {
  test("a mutation whose response was lost runs once", async (stage) => {
    await Promise.all(
      Array.from({ length: CLIENTS }, async (_, c) => {
        const proxy = await stage.proxy();
        const client = await stage.as(`client${c}`, { via: proxy });
        const conversationId = await stage.conversation(client);
        const messages = new Watch(client, api.messages.list, page(conversationId));
        await messages.until(() => true);
        const expected = [];
        for (let n = 0; n < LOST_RESPONSES; n++) {
          let lost = 0;
          // Nothing, a part, or all but the last byte of the response passes.
          proxy.gate = (message) => {
            if (message.type !== "MutationResponse" || lost++ > 0) return undefined;
            return { cutAfter: [0, 1, 40, JSON.stringify(message).length][(n + c) % 4] };
          };
          const body = `${n}`;
          const id = await client.mutation(api.messages.send, { conversationId, body });
          assert(lost > 1, "the response was not lost");
          expected.push([id, body]);
          assert.equal(messages.last.page[0]._id, id);
          assert.equal(messages.last.page.length, n + 1);
        }
        assert.deepEqual(await stored(stage, `client${c}`, conversationId), expected);
        for (const journal of proxy.journals) checkConnection(journal, { complete: false });
        checkConnection(proxy.journals.at(-1));
      }),
    );
  });

  test("a lost response over a crash of the server: still once", async (stage) => {
    const proxy = await stage.proxy();
    const alice = await stage.as("alice", { via: proxy });
    const conversationId = await stage.conversation(alice);
    const messages = new Watch(alice, api.messages.list, page(conversationId));
    await messages.until(() => true);

    const answered = deferred();
    proxy.gate = (message) => {
      if (message.type !== "MutationResponse") return undefined;
      assert.equal(message.success, true);
      answered.resolve(message.result);
      return { hold: true };
    };
    const sent = alice.mutation(api.messages.send, { conversationId, body: "once" });
    const committed = await within(answered.promise, "the response");
    await stage.server.kill();
    proxy.gate = undefined;
    await stage.server.restart({ port: 0 });
    proxy.target = stage.server.port;
    proxy.cut();

    assert.equal(await sent, committed, "the answer is that of the first run");
    assert.deepEqual(
      messages.last.page.map(({ _id }) => _id),
      [committed],
    );
    assert.deepEqual(await stored(stage, "alice", conversationId), [[committed, "once"]]);
    checkConnection(proxy.journals.at(-1));
  });

  test("connections cut anywhere: every message once, in order", async (stage) => {
    const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);
    try {
      await Promise.all([0, 1, 2].map((c) => cutAnywhere(stage, `client${c}`, random(seed + c))));
    } catch (error) {
      error.message = `SEED=${seed}: ${error.message}`;
      throw error;
    }
  });

  async function cutAnywhere(stage, name, draw) {
    const proxy = await stage.proxy();
    const client = await stage.as(name, { via: proxy });
    const conversationId = await stage.conversation(client);
    // A short live page: a connection should live for some messages, not for one.
    const messages = new Watch(client, api.messages.list, page(conversationId, 3));
    await messages.until(() => true);

    let cuts = 0;
    const budget = () => (cuts++ < RANDOM_CUTS ? Math.floor(1_000 + draw() * 9_000) : Infinity);
    proxy.onConnection = (connection) => void (connection.bytesMax = budget());
    for (const connection of proxy.open) connection.bytesMax = budget();
    const sends = [];
    for (let n = 0; n < MESSAGES; n++) {
      await sends[n - IN_FLIGHT];
      sends.push(client.mutation(api.messages.send, { conversationId, body: `${n}` }));
    }
    const ids = await Promise.all(sends);
    const bodies = ids.map((id, n) => [id, `${n}`]);
    assert.deepEqual(await stored(stage, name, conversationId), bodies);
    assert.equal(messages.last.page[0]._id, ids.at(-1));
    assert(proxy.journals.length > 1, "nothing was cut");
    for (const journal of proxy.journals) checkConnection(journal, { complete: false });
  }

  test.since("1.22.0")("what was missed during an outage is seen after it", async (stage) => {
    const proxy = await stage.proxy();
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob", { via: proxy })];
    const conversationId = await stage.conversation(alice, bob);
    const messages = new Watch(bob, api.messages.list, page(conversationId));
    const presence = new Watch(bob, api.presence.getPresence, { conversationId });
    await Promise.all([messages, presence].map((watch) => watch.until(() => true)));

    proxy.refusing = true;
    proxy.cut();
    await connectionState(bob, (state) => !state.isWebSocketConnected, "the loss of the socket");
    await alice.mutation(api.messages.send, { conversationId, body: "missed" });
    await alice.mutation(api.presence.setPresence, { conversationId, status: "online" });
    const offline = bob.mutation(api.messages.send, { conversationId, body: "from the tunnel" });
    const late = new Watch(bob, api.conversations.list, {});
    await connectionState(bob, (state) => state.connectionRetries >= 2, "a second attempt");
    proxy.refusing = false;

    await offline;
    assert.deepEqual(
      messages.last.page.map(({ body }) => body),
      ["from the tunnel", "missed"],
    );
    assert.equal(presence.last.length, 1);
    assert.deepEqual(
      (await late.until(() => true)).map(({ _id }) => _id),
      [conversationId],
    );
    assert(proxy.refused >= 1);
    checkConnection(proxy.journals.at(-1));
  });

  test("a half-closed connection is replaced", async (stage) => {
    const proxy = await stage.proxy();
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob", { via: proxy })];
    const conversationId = await stage.conversation(alice, bob);
    const messages = new Watch(bob, api.messages.list, page(conversationId));
    await messages.until(() => true);
    const [connection] = proxy.open;
    connection.halfClose();
    await alice.mutation(api.messages.send, { conversationId, body: "x" });
    await messages.until((result) => result.page.length === 1);
    assert.equal(proxy.journals.length, 2);
    checkConnection(proxy.journals[1]);
  });

  test("an orderly restart loses nothing and the client comes back", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const messages = new Watch(alice, api.messages.list, page(conversationId));
    await messages.until(() => true);
    const sends = Array.from({ length: 40 }, (_, n) =>
      alice.mutation(api.messages.send, { conversationId, body: `${n}` }),
    );
    await sends[0];
    assert.equal(await stage.server.stop(), 0);
    await stage.server.restart();
    const ids = await Promise.all(sends);
    assert.deepEqual(
      await stored(stage, "alice", conversationId),
      ids.map((id, n) => [id, `${n}`]),
    );
    assert.equal(messages.last.page.length, 40);
  });

  test("a crash under load: what was acknowledged is there, the rest comes once", async (stage) => {
    const names = [0, 1, 2, 3].map((c) => `client${c}`);
    const proxy = await stage.proxy();
    const clients = await Promise.all(names.map((name) => stage.as(name, { via: proxy })));
    const conversationId = await stage.conversation(...clients);
    let acknowledged = 0;
    const some = deferred();
    const sends = clients.map((client, c) =>
      Array.from({ length: 50 }, async (_, n) => {
        const id = await client.mutation(api.messages.send, { conversationId, body: `${c}/${n}` });
        if (++acknowledged === 60) some.resolve();
        return id;
      }),
    );
    await within(some.promise, "sixty acknowledgements");
    await stage.server.kill();
    await stage.server.restart({ port: 0 });
    proxy.target = stage.server.port;

    const ids = await Promise.all(sends.map((list) => Promise.all(list)));
    const messages = await stored(stage, names[0], conversationId);
    assert.equal(messages.length, 200);
    for (const [c, own] of ids.entries()) {
      const mine = messages.filter(([, body]) => body.startsWith(`${c}/`));
      assert.deepEqual(
        mine,
        own.map((id, n) => [id, `${c}/${n}`]),
        "order of one client",
      );
    }
  });

  test("a client that leaves does not disturb the others", async (stage) => {
    const proxy = await stage.proxy();
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob", { via: proxy })];
    const conversationId = await stage.conversation(alice, bob);
    const messages = new Watch(alice, api.messages.list, page(conversationId));
    await messages.until(() => true);
    const flood = Array.from({ length: 20 }, (_, n) =>
      bob.mutation(api.messages.send, { conversationId, body: `${n}` }),
    );
    await flood[0];
    await bob.close();
    await alice.mutation(api.messages.send, { conversationId, body: "still here" });
    assert.equal(messages.last.page[0].body, "still here");
    const others = messages.last.page
      .slice(1)
      .map(({ body }) => Number(body))
      .reverse();
    assert.deepEqual(
      others,
      others.map((_, n) => n),
      "a gap in what the other one sent",
    );
    assertQuiet(alice);
  });
});
