// Subscriptions: updates of others, one's own writes, and nothing that did not change.

import assert from "node:assert/strict";
import { api, assertQuiet, Watch } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const OWN_WRITES = 500;
const page = (conversationId, numItems = 1_000) => ({
  conversationId,
  paginationOpts: { numItems, cursor: null },
});
const bodies = (result) => result.page.map((message) => message.body);

suite("subscriptions", (test) => {
  test("a client sees what another one writes", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const conversationId = await stage.conversation(alice, bob);
    const messages = new Watch(bob, api.messages.list, page(conversationId));
    await messages.until((result) => result.page.length === 0);

    const id = await alice.mutation(api.messages.send, { conversationId, body: "hi" });
    const {
      page: shown,
      isDone,
      continueCursor,
    } = await messages.until((r) => r.page.length === 1);
    assert.equal(typeof continueCursor, "string");
    assert.equal(isDone, true);
    const [{ _id, _creationTime, ...fields }] = shown;
    assert.equal(_id, id);
    assert.equal(typeof _creationTime, "number");
    assert.deepEqual(fields, { authorId: alice.userId, body: "hi", conversationId });
    assertQuiet(alice);
    assertQuiet(bob);
  });

  test(`a mutation has been seen when its promise resolves, ${OWN_WRITES} times`, async (stage) => {
    const proxy = await stage.proxy();
    const alice = await stage.as("alice", { via: proxy });
    const conversationId = await stage.conversation(alice);
    const messages = new Watch(alice, api.messages.list, page(conversationId));
    await messages.until((result) => result.page.length === 0);

    for (let n = 1; n <= OWN_WRITES; n++) {
      const body = `message ${n}`;
      const id = await alice.mutation(api.messages.send, { conversationId, body });
      const [newest] = messages.subscription.getCurrentValue().page;
      assert.deepEqual([newest._id, newest.body], [id, body]);
      assert.equal(messages.last.page.length, n);
    }
    assert.equal(messages.values.length, OWN_WRITES + 1, "one update per message");
    assertQuiet(alice);
    checkConnection(proxy.journals[0]);
  });

  test("what did not change is not delivered again", async (stage) => {
    const alice = await stage.as("alice");
    const [watched, other] = [await stage.conversation(alice), await stage.conversation(alice)];
    const messages = new Watch(alice, api.messages.list, page(watched));
    const presence = new Watch(alice, api.presence.getPresence, { conversationId: watched });
    const list = new Watch(alice, api.conversations.list, {});
    await Promise.all([messages, presence, list].map((watch) => watch.until(() => true)));

    const send = (conversationId) =>
      alice.mutation(api.messages.send, { conversationId, body: "x" });
    for (let n = 0; n < 20; n++) await send(other);
    await send(watched);
    assert.deepEqual(
      messages.values.map((result) => result.page.length),
      [0, 1],
    );
    assert.deepEqual(presence.values, [[]]);
    assertQuiet(alice);
  });

  test("equal subscriptions share a result and end one by one", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const [first, second] = [1, 2].map(
      () => new Watch(alice, api.messages.list, page(conversationId)),
    );
    await Promise.all([first, second].map((watch) => watch.until((r) => r.page.length === 0)));

    first.stop();
    await alice.mutation(api.messages.send, { conversationId, body: "one" });
    assert.deepEqual([first.values.length, second.values.length], [1, 2]);

    second.stop();
    await alice.mutation(api.messages.send, { conversationId, body: "two" });
    assert.deepEqual([first.values.length, second.values.length], [1, 2]);

    const again = new Watch(alice, api.messages.list, page(conversationId));
    assert.deepEqual(bodies(await again.until(() => true)), ["two", "one"]);
    assertQuiet(alice);
  });

  test("a one-shot query over the socket", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    await alice.mutation(api.messages.send, { conversationId, body: "one" });
    const result = await alice.query(api.messages.list, page(conversationId));
    assert.deepEqual(bodies(result), ["one"]);
    assertQuiet(alice);
  });

  test("requests made before the socket is open arrive in order", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const late = stage.anonymous({ expectAuth: true });
    const sent = [];
    for (let n = 0; n < 20; n++) {
      sent.push(late.mutation(api.messages.send, { conversationId, body: `${n}` }));
    }
    const messages = new Watch(late, api.messages.list, page(conversationId));
    const token = await stage.server.token(alice.userId);
    late.setAuth(async () => token);
    const ids = await Promise.all(sent);
    const { page: shown } = await messages.until((result) => result.page.length === 20);
    assert.deepEqual(shown.map((message) => message._id).reverse(), ids);
    assert.deepEqual(
      shown.map((message) => message.body).reverse(),
      ids.map((_, n) => `${n}`),
    );
  });

  test("a subscriber through a slow line ends at the newest state", async (stage) => {
    const proxy = await stage.proxy();
    proxy.delay_ms = 20;
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob", { via: proxy })];
    const conversationId = await stage.conversation(alice, bob);
    const messages = new Watch(bob, api.messages.list, page(conversationId));
    await messages.until((result) => result.page.length === 0);

    const sends = Array.from({ length: 100 }, (_, n) =>
      alice.mutation(api.messages.send, { conversationId, body: `${n}` }),
    );
    await Promise.all(sends);
    await messages.until((result) => result.page.length === 100);
    const id = await bob.mutation(api.messages.send, { conversationId, body: "mine" });
    assert.equal(messages.last.page[0]._id, id);
    const lengths = messages.values.map((result) => result.page.length);
    assert.deepEqual(
      lengths,
      [...new Set(lengths)].sort((a, b) => a - b),
      "a step back",
    );
    checkConnection(proxy.journals[0]);
  });
});
