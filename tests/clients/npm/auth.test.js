// Identity: signing in and out, tokens that expire, tokens that the server refuses.

import assert from "node:assert/strict";
import {
  api,
  assertQuiet,
  connectionState,
  deferred,
  signIn,
  Watch,
  within,
} from "./harness/client.js";
import { Server } from "./harness/server.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const SHORT_TTL_SECONDS = 3;
const REFRESH_TTL_SECONDS = 12;

// `setAuth` with its callbacks written down: `forced` for each call of `fetchToken`, `changes` for
// each call of `onChange`, and how many tokens the client has received and used. `tokens(n)` gives
// the n-th token, from 0.
function signInWith(client, tokens) {
  const record = { forced: [], changes: [], used: 0 };
  let waiting = [];
  const check = () => void (waiting = waiting.filter((still) => still()));
  client.setAuth(
    async ({ forceRefreshToken }) => {
      record.forced.push(forceRefreshToken);
      const token = await tokens(record.forced.length - 1);
      setImmediate(() => {
        record.used += 1;
        check();
      });
      return token;
    },
    (authenticated) => {
      record.changes.push(authenticated);
      check();
    },
  );
  record.until = (accept) => {
    const reached = deferred();
    waiting.push(() => !accept(record) || reached.resolve());
    check();
    return within(reached.promise, `${accept} of ${JSON.stringify(record)}`);
  };
  return record;
}

// The client reports a renewed identity once more; it never reports a loss.
function assertStayedSignedIn({ changes }) {
  assert(changes.length > 0 && changes.every((authenticated) => authenticated), `${changes}`);
}

// A token whose signature does not fit.
function forged(token, n = 0) {
  const [head, claims, signature] = token.split(".");
  const bytes = Buffer.from(signature, "base64url");
  bytes[n] ^= 1;
  return [head, claims, bytes.toString("base64url")].join(".");
}

suite("identity", (test) => {
  test.since("1.27.4")("a signed-in client is who its token says", async (stage) => {
    const proxy = await stage.proxy();
    const client = stage.anonymous({ via: proxy });
    const list = new Watch(client, api.conversations.list, {});
    assert.deepEqual(await list.until(() => true), []);
    await assert.rejects(
      client.mutation(api.conversations.create, { memberIds: [] }),
      /Not authenticated/,
    );

    const userId = stage.userId("alice");
    const record = signInWith(client, () => stage.server.token(userId));
    await record.until(({ changes }) => changes.length > 0);
    const id = await client.mutation(api.conversations.create, { memberIds: [] });
    const [conversation] = await list.until((result) => result.length === 1);
    assert.deepEqual([conversation._id, conversation.memberIds], [id, [userId]]);
    assert.deepEqual(record.changes, [true]);
    assert.equal(client.getAuth().decoded.sub, userId);
    assertQuiet(client);
    checkConnection(proxy.journals[0]);
  });

  test("a fresh token follows the cached one, and no result comes twice", async (stage) => {
    const proxy = await stage.proxy();
    const alice = await stage.as("alice");
    await stage.conversation(alice);
    const client = stage.anonymous({ via: proxy });
    const list = new Watch(client, api.conversations.list, {});
    await list.until(() => true);
    // Tokens with different lives are different tokens.
    const record = signInWith(client, (n) => stage.server.token(alice.userId, { ttl: 3600 + n }));
    await list.until((result) => result.length === 1);
    await record.until(({ used }) => used === 2);
    await client.mutation(api.presence.setPresence, { status: "online" });
    assert.deepEqual(record.forced, [false, true]);
    assert.deepEqual(
      list.values.map((result) => result.length),
      [0, 1],
    );
    const sent = proxy.journals[0].filter(({ message }) => message.type === "Authenticate");
    assert.deepEqual(
      sent.map(({ message }) => message.baseVersion),
      [0, 1],
    );
    assertStayedSignedIn(record);
    checkConnection(proxy.journals[0]);
  });

  const withState = test.since("1.22.0");
  withState("what is asked while the token is fetched runs as that user", async (stage) => {
    const client = stage.anonymous();
    await connectionState(client, (state) => state.isWebSocketConnected, "the socket");
    const token = deferred();
    const record = signInWith(client, () => token.promise);
    const created = client.mutation(api.conversations.create, { memberIds: [] });
    const list = new Watch(client, api.conversations.list, {});
    token.resolve(await stage.server.token(stage.userId("alice")));
    const id = await created;
    await list.until((result) => result.length === 1 && result[0]._id === id);
    assert.deepEqual(record.changes, [true]);
  });

  test("after signing out nothing of the user is left", async (stage) => {
    const alice = await stage.as("alice");
    await stage.conversation(alice);
    const list = new Watch(alice, api.conversations.list, {});
    await list.until((result) => result.length === 1);

    alice.client.clearAuth();
    await list.until((result) => result.length === 0);
    await assert.rejects(stage.conversation(alice), /Not authenticated/);
    assertQuiet(alice);
  });

  test("users who take turns on one socket see only their own", async (stage) => {
    const client = stage.anonymous();
    const ids = {};
    for (const name of ["alice", "bob"]) ids[name] = await stage.conversation(await stage.as(name));
    const list = new Watch(client, api.conversations.list, {});
    await list.until(() => true);
    const turns = ["alice", "bob", "alice", "bob"];
    for (const name of turns) {
      await signIn(client, await stage.server.token(stage.userId(name)));
      // Nothing in between: the transition that confirms the user carries the user's results.
      assert.deepEqual(
        list.last.map(({ _id }) => _id),
        [ids[name]],
      );
    }
    assert.equal(list.values.length, 1 + turns.length);
    assertQuiet(client);
  });

  test("an expired token is renewed and the call that met it succeeds once", async (stage) => {
    const client = stage.anonymous();
    const userId = stage.userId("alice");
    const short = await stage.server.token(userId, { ttl: SHORT_TTL_SECONDS });
    // The client is told twice that the short token is the newest, so it plans no renewal.
    const record = signInWith(client, (n) => (n < 2 ? short : stage.server.token(userId)));
    await record.until(({ changes, used }) => changes.length === 1 && used === 2);

    const conversationId = await stage.conversation(client);
    let sent = 0;
    while (record.used === 2) {
      await client.mutation(api.messages.send, { conversationId, body: `${sent++}` });
      await new Promise((resolve) => setTimeout(resolve, 20));
      const life = SHORT_TTL_SECONDS * 50 * 3;
      assert(sent < life, "the token outlived its time");
    }
    const args = { conversationId, paginationOpts: { numItems: 1_000, cursor: null } };
    const { page } = await client.query(api.messages.list, args);
    assert.deepEqual(
      page.map(({ body }) => Number(body)),
      [...Array(sent).keys()].reverse(),
    );
    assert.deepEqual(record.forced, [false, true, true]);
    assertStayedSignedIn(record);
  });

  test("a token is renewed before it expires, on the live socket", async (stage) => {
    const proxy = await stage.proxy();
    const client = stage.anonymous({ via: proxy, initialAuthTokenReuse: true });
    const userId = stage.userId("alice");
    const list = new Watch(client, api.conversations.list, {});
    const ttl = REFRESH_TTL_SECONDS;
    const record = signInWith(client, (n) => stage.server.token(userId, { ttl: ttl + 3600 * n }));
    await record.until(({ used }) => used === 2);
    await client.mutation(api.conversations.create, { memberIds: [] });
    await list.until((result) => result.length === 1);
    assert.deepEqual(record.forced, [false, true]);
    assertStayedSignedIn(record);
    assert.equal(proxy.journals.length, 1, "the socket was not opened again");
    checkConnection(proxy.journals[0]);
  });

  test("a refused token signs out and leaves an anonymous client", async (stage) => {
    const genuine = await stage.server.token(stage.userId("alice"));
    const other = await Server.start();
    const foreign = await other.token(stage.userId("alice")).finally(() => other.close());
    for (const token of ["nonsense", "a.b.c", forged(genuine), foreign]) {
      const client = stage.anonymous();
      const record = signInWith(client, () => token);
      await record.until(({ changes }) => changes.length > 0);
      assert.deepEqual(record.changes, [false]);
      assert.deepEqual(await client.query(api.conversations.list, {}), []);
      await assert.rejects(stage.conversation(client), /Not authenticated/);
    }
  });

  test("a server that was not asked to be its own issuer refuses its own tokens", async (stage) => {
    const strict = await Server.start({ flags: [] });
    try {
      const token = await strict.token("alice");
      const client = stage.anonymous({ via: strict });
      const record = signInWith(client, () => token);
      await record.until(({ changes }) => changes.length > 0);
      assert.deepEqual(record.changes, [false]);
      await assert.rejects(stage.conversation(client), /Not authenticated/);
    } finally {
      await strict.close();
    }
  });

  test("a refused token is replaced by a good one", async (stage) => {
    const genuine = await stage.server.token(stage.userId("alice"));
    const client = stage.anonymous();
    const created = stage.conversation(client);
    await assert.rejects(created, /Not authenticated/);
    const record = signInWith(client, (n) => (n === 0 ? forged(genuine) : genuine));
    await record.until(({ changes }) => changes.length > 0);
    assert.deepEqual(record.changes, [true]);
    assert.equal(typeof (await stage.conversation(client)), "string");
  });

  test("one bad token after the other ends in a sign-out", async (stage) => {
    const genuine = await stage.server.token(stage.userId("alice"));
    const client = stage.anonymous();
    const record = signInWith(client, (n) => forged(genuine, n));
    await record.until(({ changes }) => changes.length > 0);
    assert.deepEqual(record.changes, [false]);
    assert.deepEqual(await client.query(api.conversations.list, {}), []);
  });

  test("a reconnect keeps the identity", async (stage) => {
    const proxy = await stage.proxy();
    const alice = await stage.as("alice", { via: proxy });
    const list = new Watch(alice, api.conversations.list, {});
    await stage.conversation(alice);
    proxy.cut();
    await stage.conversation(alice);
    await list.until((result) => result.length === 2);
    assert.equal(proxy.journals.length, 2);
    const kinds = proxy.journals[1].map(({ message }) => message.type).slice(0, 3);
    assert.deepEqual(kinds, ["Connect", "Authenticate", "ModifyQuerySet"]);
    checkConnection(proxy.journals[1]);
  });
});
