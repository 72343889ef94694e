// Several queries on one socket are one snapshot: they never contradict each other.

import assert from "node:assert/strict";
import { api, deferred, within } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const MOVES = 60;
const TIE_MS = 2;

// A signed-in base client that calls `check` with the results of `queries` after each change,
// as soon as all of them are there.
async function observe(stage, name, queries, check, options) {
  const observer = { views: 0, failure: undefined };
  const loaded = deferred();
  let client;
  const look = () => {
    const results = queries.map(([path, args]) => client?.localQueryResult(path, args));
    if (results.includes(undefined)) return;
    observer.views += 1;
    loaded.resolve();
    try {
      check(...results);
    } catch (error) {
      observer.failure ??= error;
    }
  };
  client = await stage.baseAs(name, look, options);
  for (const [path, args] of queries) client.subscribe(path, args);
  await within(loaded.promise, "the first results");
  observer.client = client;
  return observer;
}

const page = (conversationId) => ({
  conversationId,
  paginationOpts: { numItems: 100, cursor: null },
});

suite("one snapshot", (test) => {
  test("who moves from room to room is always in exactly one", async (stage) => {
    const proxy = await stage.proxy();
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const rooms = [await stage.conversation(alice, bob), await stage.conversation(alice, bob)];
    const move = (n) =>
      alice.mutation(api.presence.setPresence, { conversationId: rooms[n % 2], status: "online" });
    await move(0);
    const queries = rooms.map((conversationId) => ["presence:getPresence", { conversationId }]);
    const oneRoom = (a, b) => assert.equal(a.length + b.length, 1);
    const observer = await observe(stage, "bob", queries, oneRoom, { via: proxy });

    for (let n = 1; n <= MOVES; n++) await move(n);
    await observer.client.mutation("messages:send", { conversationId: rooms[0], body: "end" });
    assert.equal(observer.failure, undefined);
    assert(observer.views > 1);
    assert.equal(observer.client.localQueryResult(...queries[MOVES % 2]).length, 1);
    checkConnection(proxy.journals[0]);
  });

  test("membership opens and closes everything at once", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    await alice.mutation(api.messages.send, { conversationId, body: "x" });
    await alice.mutation(api.presence.setPresence, { conversationId, status: "online" });
    const queries = [
      ["conversations:list", {}],
      ["messages:list", page(conversationId)],
      ["presence:getPresence", { conversationId }],
    ];
    const observer = await observe(stage, "bob", queries, (list, messages, presence) => {
      const sizes = [list.length, messages.page.length, presence.length];
      assert(
        sizes.every((size) => size === sizes[0]),
        `${sizes}`,
      );
    });
    const member = { conversationId, userId: observer.client.userId };
    for (let n = 0; n < MOVES / 2; n++) {
      await alice.mutation(api.conversations.addMember, member);
      await alice.mutation(api.conversations.removeMember, member);
    }
    await alice.mutation(api.conversations.addMember, member);
    // One's own mutation resolves after everything before it was seen.
    await observer.client.mutation("presence:setPresence", { status: "online" });
    assert.equal(observer.failure, undefined);
    assert(observer.views > 1);
    assert.equal(observer.client.localQueryResult(...queries[0]).length, 1);
  });

  test("the order of conversations agrees with their messages", async (stage) => {
    const proxy = await stage.proxy();
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const rooms = [await stage.conversation(alice, bob), await stage.conversation(alice, bob)];
    const send = (n) =>
      alice.mutation(api.messages.send, { conversationId: rooms[n % 2], body: `${n}` });
    await send(0);
    await send(1);
    const queries = [["conversations:list", {}], ...rooms.map((id) => ["messages:list", page(id)])];
    const agree = (list, ...pages) => {
      const newest = pages.map(({ page: [message] }) => message._creationTime);
      if (Math.abs(newest[0] - newest[1]) < TIE_MS) return;
      assert.equal(list[0]._id, rooms[newest[0] > newest[1] ? 0 : 1]);
    };
    const observer = await observe(stage, "bob", queries, agree, { via: proxy });
    for (let n = 2; n < 40; n++) await send(n);
    await observer.client.mutation("messages:send", { conversationId: rooms[0], body: "end" });
    assert.equal(observer.failure, undefined);
    assert(observer.views > 1);
    checkConnection(proxy.journals[0]);
  });

  test("eight writers, one reader: the count of messages never steps back", async (stage) => {
    const names = Array.from({ length: 8 }, (_, n) => `writer${n}`);
    const writers = await Promise.all(names.map((name) => stage.as(name)));
    const conversationId = await stage.conversation(...writers);
    const bodies = new Set();
    let before = 0;
    const queries = [
      ["messages:list", page(conversationId)],
      ["conversations:list", {}],
    ];
    const observer = await observe(stage, names[0], queries, (messages) => {
      assert(messages.page.length >= before, "a message went away");
      before = messages.page.length;
    });
    await Promise.all(
      writers.map(async (writer, w) => {
        for (let n = 0; n < 10; n++) {
          bodies.add(`${w}/${n}`);
          await writer.mutation(api.messages.send, { conversationId, body: `${w}/${n}` });
        }
      }),
    );
    await observer.client.mutation("presence:setPresence", { status: "online" });
    const seen = observer.client.localQueryResult(...queries[0]).page.map(({ body }) => body);
    assert.equal(observer.failure, undefined);
    assert.deepEqual(seen.sort(), [...bodies].sort());
  });
});
