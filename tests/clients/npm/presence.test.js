// Presence: records as the document stores them, and everyone's view of them.

import assert from "node:assert/strict";
import { api, assertQuiet, Watch } from "./harness/client.js";
import { suite } from "./harness/suite.js";

const FIELDS = ["_creationTime", "_id", "conversationId", "lastSeen", "status", "userId"];
const CLOCK_MS_MAX = 60_000;

const statuses = (records) =>
  Object.fromEntries(records.map(({ userId, status }) => [userId.split("-")[0], status]));

async function shows(watch, expected) {
  const text = JSON.stringify(Object.entries(expected).sort());
  const same = (records) => JSON.stringify(Object.entries(statuses(records)).sort()) === text;
  return watch.until(same, text);
}

suite("presence", (test) => {
  test("two users in a room: online, typing, gone", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const conversationId = await stage.conversation(alice, bob);
    const views = [alice, bob].map(
      (who) => new Watch(who, api.presence.getPresence, { conversationId }),
    );
    const both = (expected) => Promise.all(views.map((view) => shows(view, expected)));
    const set = (who, status) => who.mutation(api.presence.setPresence, { conversationId, status });

    await both({});
    assert.equal(await set(alice, "online"), null);
    await both({ alice: "online" });
    await set(bob, "online");
    await both({ alice: "online", bob: "online" });
    await set(alice, "typing");
    await both({ alice: "typing", bob: "online" });
    await set(alice, "online");
    await both({ alice: "online", bob: "online" });
    await set(bob, "offline");
    await both({ alice: "online", bob: "offline" });
    assertQuiet(alice);
    assertQuiet(bob);
  });

  test("a record has the document's shape and stays the same record", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    const view = new Watch(alice, api.presence.getPresence, { conversationId });
    const set = (status) => alice.mutation(api.presence.setPresence, { conversationId, status });

    await set("online");
    const [first] = view.last;
    assert.deepEqual(Object.keys(first).sort(), FIELDS);
    assert.deepEqual(
      [first.userId, first.conversationId, first.status],
      [alice.userId, conversationId, "online"],
    );
    assert(Number.isInteger(first.lastSeen), "whole milliseconds, as Date.now gives them");
    for (const time of [first.lastSeen, first._creationTime]) {
      assert(Math.abs(time - Date.now()) < CLOCK_MS_MAX, "milliseconds of the server's clock");
    }
    for (const status of ["typing", "online", "offline"]) {
      await set(status);
      assert.equal(view.last.length, 1, "one record per user");
      const [record] = view.last;
      assert.deepEqual({ ...record, lastSeen: 0 }, { ...first, status, lastSeen: 0 });
      assert(record.lastSeen >= first.lastSeen);
    }
  });

  test("without a room a user is in none", async (stage) => {
    const alice = await stage.as("alice");
    const [here, there] = [await stage.conversation(alice), await stage.conversation(alice)];
    const views = [here, there].map(
      (id) => new Watch(alice, api.presence.getPresence, { conversationId: id }),
    );
    const set = (args) => alice.mutation(api.presence.setPresence, { status: "online", ...args });
    const lengths = () => views.map((view) => view.last.length);

    await set({ conversationId: here });
    assert.deepEqual(lengths(), [1, 0]);
    await set({ conversationId: there });
    assert.deepEqual(lengths(), [0, 1]);
    await set({});
    assert.deepEqual(lengths(), [0, 0]);
    await set({ conversationId: here });
    assert.deepEqual(lengths(), [1, 0]);
  });

  test("the view follows the list of members", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const conversationId = await stage.conversation(alice, bob);
    for (const who of [alice, bob]) {
      await who.mutation(api.presence.setPresence, { conversationId, status: "online" });
    }
    const [hers, his] = [alice, bob].map(
      (who) => new Watch(who, api.presence.getPresence, { conversationId }),
    );
    await Promise.all([hers, his].map((view) => shows(view, { alice: "online", bob: "online" })));

    const member = { conversationId, userId: bob.userId };
    await alice.mutation(api.conversations.removeMember, member);
    await Promise.all([shows(hers, { alice: "online" }), shows(his, {})]);
    await alice.mutation(api.conversations.addMember, member);
    await Promise.all([hers, his].map((view) => shows(view, { alice: "online", bob: "online" })));
  });

  test("messages do not wake the presence of their room", async (stage) => {
    const [alice, bob] = [await stage.as("alice"), await stage.as("bob")];
    const conversationId = await stage.conversation(alice, bob);
    await alice.mutation(api.presence.setPresence, { conversationId, status: "online" });
    const view = new Watch(bob, api.presence.getPresence, { conversationId });
    await shows(view, { alice: "online" });
    for (let n = 0; n < 10; n++) {
      await bob.mutation(api.messages.send, { conversationId, body: `${n}` });
    }
    assert.equal(view.values.length, 1);
  });

  test("one user on many sockets at once has one record", async (stage) => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => stage.as("alice")));
    const conversationId = await stage.conversation(clients[0]);
    const view = new Watch(clients[0], api.presence.getPresence, { conversationId });
    await shows(view, {});
    const set = (status) => (client) =>
      client.mutation(api.presence.setPresence, { conversationId, status });
    await Promise.all(clients.map(set("online")));
    const [{ _id }] = await shows(view, { alice: "online" });
    await Promise.all(clients.flatMap((client) => ["typing", "online"].map((s) => set(s)(client))));
    await set("offline")(clients[0]);
    await shows(view, { alice: "offline" });
    assert(
      view.values.every((records) => records.length <= 1),
      "two records of one user",
    );
    assert.equal(view.last[0]._id, _id);
    clients.forEach(assertQuiet);
  });

  test("a crowd in one room ends with one record each", async (stage) => {
    const names = Array.from({ length: 12 }, (_, n) => `user${n}`);
    const people = await Promise.all(names.map((name) => stage.as(name)));
    const conversationId = await stage.conversation(...people);
    const view = new Watch(people[0], api.presence.getPresence, { conversationId });
    const expected = Object.fromEntries(names.map((name) => [name, "online"]));
    await Promise.all(
      people.map(async (who) => {
        for (const status of ["online", "typing", "online", "typing", "online"]) {
          await who.mutation(api.presence.setPresence, { conversationId, status });
        }
      }),
    );
    const records = await shows(view, expected);
    assert.equal(records.length, names.length);
  });
});
