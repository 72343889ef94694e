// Pages: walking by cursor, growing live, splitting, and cursors whose place has changed.

import assert from "node:assert/strict";
import { ConvexError } from "convex/values";
import { api, assertQuiet, connectionState, Watch } from "./harness/client.js";
import { suite } from "./harness/suite.js";

const bodies = (page) => page.map(({ body }) => Number(body));
const newestFirst = (from, to = 0) => Array.from({ length: from - to + 1 }, (_, n) => from - n);

async function fill(client, conversationId, from, to) {
  const ids = [];
  for (let n = from; n <= to; n++) {
    ids.push(await client.mutation(api.messages.send, { conversationId, body: `${n}` }));
  }
  return ids;
}

function pageAt(client, conversationId, cursor, numItems = 5) {
  return client.query(api.messages.list, { conversationId, paginationOpts: { numItems, cursor } });
}

// All pages from the start, by hand.
async function walk(client, conversationId, numItems) {
  const pages = [];
  for (let cursor = null, isDone = false; !isDone;) {
    const result = await pageAt(client, conversationId, cursor, numItems);
    pages.push(bodies(result.page));
    ({ isDone, continueCursor: cursor } = result);
    assert(pages.length < 100, "the walk does not end");
  }
  return pages;
}

// The official paginated subscription; every view it shows is checked to be without gap.
function paginate(client, conversationId, initialNumItems) {
  return new Watch(
    {
      onUpdate: (query, args, ...callbacks) =>
        client.onPaginatedUpdate_experimental(query, args, { initialNumItems }, ...callbacks),
    },
    api.messages.list,
    { conversationId },
  );
}

function assertWithoutGap({ values }) {
  for (const { results } of values) {
    const numbers = bodies(results);
    assert.deepEqual(numbers, newestFirst(numbers[0] ?? -1, numbers.at(-1) ?? 0));
  }
}

suite("pages", (test) => {
  const live = test.since("1.30.0");

  test("walking by cursor meets every message once", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    assert.deepEqual((await walk(alice, conversationId, 3)).flat(), []);
    await fill(alice, conversationId, 0, 11);
    for (const numItems of [1, 4, 5, 12, 100]) {
      const pages = await walk(alice, conversationId, numItems);
      assert.deepEqual(pages.flat(), newestFirst(11));
      assert(pages.every((page) => page.length <= numItems));
    }
  });

  test("the message at a cursor may vanish", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const ids = await fill(alice, conversationId, 0, 11);
    const first = await pageAt(alice, conversationId, null);
    assert.deepEqual(bodies(first.page), newestFirst(11, 7));
    for (const n of [7, 6]) await alice.mutation(api.messages.remove, { messageId: ids[n] });
    const second = await pageAt(alice, conversationId, first.continueCursor);
    assert.deepEqual(bodies(second.page), newestFirst(5, 1));
    const third = await pageAt(alice, conversationId, second.continueCursor);
    assert.deepEqual([bodies(third.page), third.isDone], [[0], true]);
    const end = await pageAt(alice, conversationId, third.continueCursor);
    assert.deepEqual([end.page, end.isDone], [[], true]);
  });

  test("a cursor of another conversation and a broken one are recognised", async (stage) => {
    const alice = await stage.as("alice");
    const [here, there] = [await stage.conversation(alice), await stage.conversation(alice)];
    for (const id of [here, there]) await fill(alice, id, 0, 7);
    const { continueCursor } = await pageAt(alice, here, null);
    const http = await stage.http("alice");
    for (const client of [alice, http]) {
      for (const cursor of [continueCursor, "broken", ""]) {
        await assert.rejects(pageAt(client, there, cursor), (error) => {
          assert(error instanceof ConvexError, `${error}`);
          assert.equal(error.data.isConvexSystemError, true);
          assert.equal(error.data.paginationError, "InvalidCursor");
          return true;
        });
      }
    }
  });

  test("a cursor works for another client and over HTTP", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const conversationId = await stage.conversation(alice, bob);
    await fill(alice, conversationId, 0, 7);
    const { continueCursor } = await pageAt(alice, conversationId, null);
    for (const client of [bob, await stage.http("bob")]) {
      const { page, isDone } = await pageAt(client, conversationId, continueCursor);
      assert.deepEqual([bodies(page), isDone], [[2, 1, 0], true]);
    }
  });

  live("a live list loads more and grows at its head", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    await fill(alice, conversationId, 0, 11);
    const list = paginate(alice, conversationId, 5);
    await list.until(({ status }) => status === "CanLoadMore");
    assert.deepEqual(bodies(list.last.results), newestFirst(11, 7));

    assert.equal(list.last.loadMore(4), true);
    await list.until(({ status, results }) => status === "CanLoadMore" && results.length === 9);
    await fill(alice, conversationId, 12, 13);
    await list.until(({ results }) => results.length === 11);
    list.last.loadMore(100);
    await list.until(({ status }) => status === "Exhausted");
    assert.deepEqual(bodies(list.last.results), newestFirst(13));
    assertWithoutGap(list);
    assertQuiet(alice);
  });

  live("a page that has grown too long is split without a gap", async (stage) => {
    const proxy = await stage.proxy();
    const alice = await stage.as("alice", { via: proxy });
    const conversationId = await stage.conversation(alice);
    await fill(alice, conversationId, 0, 5);
    const list = paginate(alice, conversationId, 4);
    await list.until(({ status }) => status === "CanLoadMore");
    await fill(alice, conversationId, 6, 20);
    await list.until(({ results }) => results.length === 19);
    assertWithoutGap(list);

    const asked = proxy.journals[0]
      .filter(({ message }) => message.type === "ModifyQuerySet")
      .flatMap(({ message }) => message.modifications)
      .filter(({ args }) => args?.[0].paginationOpts?.endCursor !== undefined);
    assert(asked.length >= 2, "the client asked for no split");
    list.last.loadMore(100);
    await list.until(({ status }) => status === "Exhausted");
    assert.deepEqual(bodies(list.last.results), newestFirst(20));
    assertQuiet(alice);
  });

  live("a live list survives a reconnect with the extent it had", async (stage) => {
    const proxy = await stage.proxy();
    const [alice, bob] = [await stage.as("alice", { via: proxy }), await stage.as("bob")];
    const conversationId = await stage.conversation(alice, bob);
    await fill(bob, conversationId, 0, 11);
    const list = paginate(alice, conversationId, 5);
    await list.until(({ status }) => status === "CanLoadMore");
    list.last.loadMore(3);
    await list.until(({ results }) => results.length === 8);
    await fill(bob, conversationId, 12, 13);
    await list.until(({ results }) => results.length === 10);

    proxy.refusing = true;
    proxy.cut();
    await connectionState(alice, (state) => !state.isWebSocketConnected, "the loss of the socket");
    await fill(bob, conversationId, 14, 15);
    proxy.refusing = false;
    await list.until(({ results }) => results.length === 12);
    assert.deepEqual(bodies(list.last.results), newestFirst(15, 4));
    assertWithoutGap(list);
  });

  live("a removed message leaves its page and no other row moves in or out", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const ids = await fill(alice, conversationId, 0, 11);
    const list = paginate(alice, conversationId, 5);
    await list.until(({ status }) => status === "CanLoadMore");
    list.last.loadMore(4);
    await list.until(({ results }) => results.length === 9);
    await alice.mutation(api.messages.remove, { messageId: ids[7] });
    assert.deepEqual(bodies(list.last.results), [11, 10, 9, 8, 6, 5, 4, 3]);
  });
});
