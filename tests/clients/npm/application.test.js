// The chat's own rules, as a client meets them: who may do what, and which errors come back.

import assert from "node:assert/strict";
import { ConvexError } from "convex/values";
import { api, assertQuiet, Watch } from "./harness/client.js";
import { suite } from "./harness/suite.js";

const firstPage = (conversationId) => ({
  conversationId,
  paginationOpts: { numItems: 10, cursor: null },
});
const isPlainError = (pattern) => (error) => {
  assert(!(error instanceof ConvexError), "an error of a function's code carries no data");
  assert.match(error.message, /\[Request ID: \w+\] Server Error/);
  assert.match(error.message, pattern);
  return true;
};

suite("application", (test) => {
  test("without identity queries are empty and mutations fail", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const messageId = await alice.mutation(api.messages.send, { conversationId, body: "x" });
    await alice.mutation(api.presence.setPresence, { conversationId, status: "online" });

    const nobody = stage.anonymous();
    assert.deepEqual(await nobody.query(api.conversations.list, {}), []);
    assert.deepEqual(await nobody.query(api.presence.getPresence, { conversationId }), []);
    const { page, isDone } = await nobody.query(api.messages.list, firstPage(conversationId));
    assert.deepEqual([page, isDone], [[], true]);
    for (const [mutation, args] of [
      [api.conversations.create, { memberIds: [] }],
      [api.conversations.addMember, { conversationId, userId: "x" }],
      [api.conversations.removeMember, { conversationId, userId: alice.userId }],
      [api.messages.send, { conversationId, body: "x" }],
      [api.messages.remove, { messageId }],
      [api.presence.setPresence, { conversationId, status: "online" }],
      [api.presence.setPresence, { status: "online" }],
    ]) {
      const refused = isPlainError(/Uncaught Error: Not authenticated/);
      await assert.rejects(nobody.mutation(mutation, args), refused);
    }
    assertQuiet(nobody);
  });

  test("who is no member sees nothing and may do nothing", async (stage) => {
    const [alice, carol] = [await stage.as("alice"), await stage.as("carol")];
    const conversationId = await stage.conversation(alice);
    await alice.mutation(api.messages.send, { conversationId, body: "secret" });
    await alice.mutation(api.presence.setPresence, { conversationId, status: "online" });

    assert.deepEqual(await carol.query(api.conversations.list, {}), []);
    assert.deepEqual(await carol.query(api.presence.getPresence, { conversationId }), []);
    const { page, isDone } = await carol.query(api.messages.list, firstPage(conversationId));
    assert.deepEqual([page, isDone], [[], true]);
    for (const [mutation, args] of [
      [api.messages.send, { conversationId, body: "x" }],
      [api.conversations.addMember, { conversationId, userId: carol.userId }],
      [api.conversations.removeMember, { conversationId, userId: alice.userId }],
    ]) {
      const refused = isPlainError(/Uncaught Error: Not a member/);
      await assert.rejects(carol.mutation(mutation, args), refused);
    }
    const { page: unchanged } = await alice.query(api.messages.list, firstPage(conversationId));
    assert.deepEqual(
      unchanged.map(({ body }) => body),
      ["secret"],
    );
  });

  test("a creator is a member, once", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const memberIds = [bob.userId, alice.userId, bob.userId];
    const title = "plans";
    const id = await alice.mutation(api.conversations.create, { memberIds, title });
    const [conversation] = await bob.query(api.conversations.list, {});
    assert.equal(conversation._id, id);
    assert.equal(conversation.title, title);
    assert.deepEqual([...conversation.memberIds].sort(), [alice.userId, bob.userId].sort());
    assert.deepEqual(await alice.query(api.conversations.list, {}), [conversation]);
  });

  test("my conversations, the latest activity first", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push(await stage.conversation(alice, bob));
    const list = new Watch(bob, api.conversations.list, {});
    const order = (result) => result.map(({ _id }) => ids.indexOf(_id));
    await list.until((result) => result.length === 3);
    for (const n of [0, 2, 1, 0]) {
      await alice.mutation(api.messages.send, { conversationId: ids[n], body: "x" });
      await list.until((result) => order(result)[0] === n, `conversation ${n} on top`);
    }
    assert.deepEqual(order(list.last), [0, 1, 2]);
    const untouched = list.last.map(({ _id, _creationTime, memberIds }) => ({
      _id,
      _creationTime,
      memberIds,
    }));
    assert.deepEqual(list.last, untouched, "a conversation holds only what its schema names");
  });

  test("members come and go", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const conversationId = await stage.conversation(alice);
    await alice.mutation(api.messages.send, { conversationId, body: "before" });
    const list = new Watch(bob, api.conversations.list, {});
    const messages = new Watch(bob, api.messages.list, firstPage(conversationId));
    await Promise.all([
      list.until((l) => l.length === 0),
      messages.until((m) => m.page.length === 0),
    ]);

    const member = { conversationId, userId: bob.userId };
    for (let round = 0; round < 2; round++) {
      assert.equal(await alice.mutation(api.conversations.addMember, member), null);
      await Promise.all([
        list.until((l) => l.length === 1),
        messages.until((m) => m.page.length === 1),
      ]);
      assert.deepEqual(list.last[0].memberIds, [alice.userId, bob.userId]);
      assert.equal(await alice.mutation(api.conversations.removeMember, member), null);
      await Promise.all([
        list.until((l) => l.length === 0),
        messages.until((m) => m.page.length === 0),
      ]);
    }
    const refused = isPlainError(/Uncaught Error: Not a member/);
    await assert.rejects(bob.mutation(api.messages.send, { conversationId, body: "x" }), refused);
  });

  test("a message is removed by its author only", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const conversationId = await stage.conversation(alice, bob);
    const messageId = await alice.mutation(api.messages.send, { conversationId, body: "mine" });
    const messages = new Watch(bob, api.messages.list, firstPage(conversationId));
    await messages.until((result) => result.page.length === 1);

    await assert.rejects(
      bob.mutation(api.messages.remove, { messageId }),
      isPlainError(/Uncaught/),
    );
    assert.equal(messages.last.page.length, 1);
    assert.equal(await alice.mutation(api.messages.remove, { messageId }), null);
    await messages.until((result) => result.page.length === 0);
  });

  test("wrong arguments fail with the place in the value", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const messageId = await alice.mutation(api.messages.send, { conversationId, body: "x" });
    for (const [args, pattern] of [
      [
        { conversationId, body: 5 },
        /Value does not match validator\.\s+Path: \.body\s+Value: 5\.0\s+Validator: v\.string\(\)/,
      ],
      [{ conversationId }, /`body`/],
      [{ conversationId, body: "x", more: true }, /`more`/],
      [{ conversationId: messageId, body: "x" }, /v\.id\("conversations"\)/],
      [{ conversationId: "nonsense", body: "x" }, /v\.id\("conversations"\)/],
    ]) {
      const failed = alice.mutation(api.messages.send, args);
      await assert.rejects(failed, isPlainError(/ArgumentValidationError: /));
      await assert.rejects(failed, isPlainError(pattern));
    }
    const away = alice.mutation(api.presence.setPresence, { conversationId, status: "away" });
    await assert.rejects(away, isPlainError(/ArgumentValidationError: [^]*\.status/));
    const { page } = await alice.query(api.messages.list, firstPage(conversationId));
    assert.equal(page.length, 1);
  });

  test("a query that fails leaves its neighbours alone", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const messages = new Watch(alice, api.messages.list, firstPage(conversationId));
    const bad = new Watch(alice, api.presence.getPresence, { conversationId: 7 });
    const missing = new Watch(alice, api.presence.nothing, {});
    assert.match((await bad.failure()).message, /ArgumentValidationError/);
    assert.match(
      (await missing.failure()).message,
      /Could not find public function for 'presence:nothing'/,
    );
    await alice.mutation(api.messages.send, { conversationId, body: "still here" });
    assert.equal(messages.last.page.length, 1);
    assert.deepEqual([bad.errors.length, missing.errors.length], [1, 1]);
  });

  test("functions that are internal, missing or of another kind", async (stage) => {
    const alice = await stage.as("alice");
    for (const [call, pattern] of [
      [
        () => alice.mutation(api.presence.cleanupPresence, {}),
        /Could not find public function for 'presence:cleanupPresence'/,
      ],
      [
        () => alice.query(api.presence.cleanupPresence, {}),
        /Could not find public function for 'presence:cleanupPresence'/,
      ],
      [
        () => alice.action(api.presence.cleanupPresence, {}),
        /Could not find public function for 'presence:cleanupPresence'/,
      ],
      [
        () => alice.mutation(api.messages.nothing, {}),
        /Could not find public function for 'messages:nothing'/,
      ],
      [
        () => alice.action(api.nowhere.nothing, {}),
        /Could not find public function for 'nowhere:nothing'/,
      ],
      [
        () => alice.query(api.messages.send, {}),
        /Trying to execute messages\.js:send as Query, but it is defined as Mutation\./,
      ],
      [
        () => alice.mutation(api.conversations.list, {}),
        /Trying to execute conversations\.js:list as Mutation, but it is defined as Query\./,
      ],
      [
        () => alice.action(api.messages.send, {}),
        /Trying to execute messages\.js:send as Action, but it is defined as Mutation\./,
      ],
    ]) {
      await assert.rejects(call, pattern);
    }
    assert.deepEqual(await alice.query(api.conversations.list, {}), []);
    assertQuiet(alice);
  });
});
