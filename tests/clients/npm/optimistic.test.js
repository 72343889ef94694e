// Optimistic updates: shown at once, replaced by the truth, undone when the mutation fails.

import assert from "node:assert/strict";
import { api, assertQuiet, deferred, within } from "./harness/client.js";
import { suite } from "./harness/suite.js";

const LIST = "messages:list";

const draft =
  (body) =>
  (store, { conversationId }) => {
    const args = { conversationId, paginationOpts: { numItems: 100, cursor: null } };
    const result = store.getQuery(api.messages.list, args);
    if (result === undefined) return;
    const page = [{ _id: "draft", body }, ...result.page];
    store.setQuery(api.messages.list, args, { ...result, page });
  };

// A client that records the bodies it shows after each change of the list.
async function viewer(stage, name, conversationId, options) {
  const shown = [];
  const loaded = deferred();
  const args = { conversationId, paginationOpts: { numItems: 100, cursor: null } };
  let client;
  client = await stage.baseAs(
    name,
    () => {
      const result = client?.localQueryResult(LIST, args);
      if (result === undefined) return;
      shown.push(result.page.map(({ body }) => body));
      loaded.resolve();
    },
    options,
  );
  client.subscribe(LIST, args);
  await within(loaded.promise, "the first result");
  return { client, shown };
}

suite("optimistic updates", (test) => {
  test("a draft is replaced by the message, in one step", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const { client, shown } = await viewer(stage, "alice", conversationId);
    const args = { conversationId, body: "hi" };
    await client.mutation("messages:send", args, { optimisticUpdate: draft("hi*") });
    assert.deepEqual(dropRepeats(shown), [[], ["hi*"], ["hi"]]);
    assertQuiet(client);
  });

  test("drafts stay on top of what others write", async (stage) => {
    const proxy = await stage.proxy();
    const bob = await stage.as("bob");
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice, bob);
    const { client, shown } = await viewer(stage, "alice", conversationId, { via: proxy });
    for (let n = 0; n < 20; n++) {
      const others = bob.mutation(api.messages.send, { conversationId, body: `bob ${n}` });
      const args = { conversationId, body: `alice ${n}` };
      await client.mutation("messages:send", args, { optimisticUpdate: draft(`alice ${n}*`) });
      await others;
      for (const bodies of shown.splice(0)) {
        const twice = bodies.includes(`alice ${n}*`) && bodies.includes(`alice ${n}`);
        assert(!twice, `the draft and its message were shown together: ${bodies}`);
      }
    }
    assertQuiet(client);
  });

  test("the first request of a session fails and its draft disappears", async (stage) => {
    const alice = await stage.as("alice");
    await stage.conversation(alice);
    const foreign = await stage.conversation(await stage.as("bob"));
    const { client, shown } = await viewer(stage, "alice", foreign);
    const args = { conversationId: foreign, body: "no" };
    const failed = client.mutation("messages:send", args, { optimisticUpdate: draft("no*") });
    await assert.rejects(failed, /Uncaught Error: Not a member/);
    assert.deepEqual(dropRepeats(shown), [[], ["no*"], []]);
    assertQuiet(client);
  });

  test("a later request fails and only its draft disappears", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const { client, shown } = await viewer(stage, "alice", conversationId);
    await client.mutation("messages:send", { conversationId, body: "good" });
    shown.splice(0);
    const args = { conversationId, body: 5 };
    const failed = client.mutation("messages:send", args, { optimisticUpdate: draft("bad*") });
    await assert.rejects(failed, /ArgumentValidationError/);
    assert.deepEqual(dropRepeats(shown), [["bad*", "good"], ["good"]]);
    assertQuiet(client);
  });
});

// Equal neighbours are one view.
function dropRepeats(views) {
  const texts = views.map((view) => JSON.stringify(view));
  return views.filter((_, n) => texts[n] !== texts[n - 1]);
}
