// The official HTTP client in all its modes, and plain requests as a script or a beacon makes them.

import assert from "node:assert/strict";
import { ConvexError } from "convex/values";
import { api, Watch } from "./harness/client.js";
import { suite } from "./harness/suite.js";

const page = (conversationId) => ({
  conversationId,
  paginationOpts: { numItems: 100, cursor: null },
});
const bodies = (result) => result.page.map(({ body }) => body);

async function post(server, path, body, headers = {}) {
  const response = await fetch(`${server.url}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  return {
    status: response.status,
    text,
    json: text.startsWith("{") ? JSON.parse(text) : undefined,
  };
}

suite("http", (test) => {
  test.since("1.25.0")("queries and mutations of a signed-in client", async (stage) => {
    const [http, alice] = [await stage.http("alice"), await stage.as("alice")];
    const conversationId = await http.mutation(api.conversations.create, { memberIds: [] });
    const messages = new Watch(alice, api.messages.list, page(conversationId));
    await messages.until(() => true);
    const ids = await Promise.all(
      ["a", "b", "c"].map((body) => http.mutation(api.messages.send, { conversationId, body })),
    );
    const result = await http.query(api.messages.list, page(conversationId));
    assert.deepEqual(result.page.map(({ _id }) => _id).reverse(), ids);
    assert.deepEqual(bodies(result), ["c", "b", "a"], "mutations of one client keep their order");
    await messages.until(({ page: shown }) => shown.length === 3);
    assert.deepEqual(messages.last.page, result.page, "both ways give the same values");
    assert.equal(await http.mutation(api.messages.remove, { messageId: ids[0] }), null);
  });

  test("mutations without the queue run side by side", async (stage) => {
    const http = await stage.http("alice");
    const conversationId = await http.mutation(api.conversations.create, { memberIds: [] });
    await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        http.mutation(api.messages.send, { conversationId, body: `${n}` }, { skipQueue: true }),
      ),
    );
    const result = await http.query(api.messages.list, page(conversationId));
    assert.deepEqual(
      bodies(result)
        .map(Number)
        .sort((a, b) => a - b),
      [...Array(50).keys()],
    );
  });

  test("identity comes and goes with the token", async (stage) => {
    const http = await stage.http();
    assert.deepEqual(await http.query(api.conversations.list, {}), []);
    const create = () => http.mutation(api.conversations.create, { memberIds: [] });
    await assert.rejects(create(), /Uncaught Error: Not authenticated/);
    http.setAuth(await stage.server.token(stage.userId("alice")));
    const id = await create();
    assert.deepEqual(
      (await http.query(api.conversations.list, {})).map(({ _id }) => _id),
      [id],
    );
    http.clearAuth();
    assert.deepEqual(await http.query(api.conversations.list, {}), []);
  });

  test("a bad token fails the request before the function runs", async (stage) => {
    const token = await stage.server.token(stage.userId("alice"));
    for (const auth of ["nonsense", "a.b.c", `${token.slice(0, -8)}AAAAAAAA`]) {
      const http = await stage.http();
      http.setAuth(auth);
      await assert.rejects(http.query(api.conversations.list, {}), (error) => {
        assert.deepEqual(Object.keys(JSON.parse(error.message)).sort(), ["code", "message"]);
        return true;
      });
      const headers = { Authorization: `Bearer ${auth}` };
      const call = { path: "conversations:list", args: {} };
      assert.equal((await post(stage.server, "/api/query", call, headers)).status, 401);
    }
  });

  test("errors of functions", async (stage) => {
    const http = await stage.http("alice");
    for (const [call, pattern] of [
      [
        () => http.query(api.presence.getPresence, {}),
        /ArgumentValidationError: [^]*`conversationId`/,
      ],
      [
        () => http.mutation(api.presence.cleanupPresence, {}),
        /Could not find public function for 'presence:cleanupPresence'/,
      ],
      [
        () => http.query(api.presence.nothing, {}),
        /Could not find public function for 'presence:nothing'/,
      ],
      [() => http.query(api.messages.send, {}), /as Query, but it is defined as Mutation/],
      [() => http.mutation(api.messages.list, {}), /as Mutation, but it is defined as Query/],
      [() => http.action(api.messages.send, {}), /as Action, but it is defined as Mutation/],
      [
        () => http.action(api.nowhere.nothing, {}),
        /Could not find public function for 'nowhere:nothing'/,
      ],
    ]) {
      await assert.rejects(call, (error) => {
        assert(!(error instanceof ConvexError));
        assert.match(error.message, pattern);
        return true;
      });
    }
  });

  test("consistent queries of one client are one snapshot", async (stage) => {
    const writer = await stage.http("alice");
    const conversationId = await writer.mutation(api.conversations.create, { memberIds: [] });
    await writer.mutation(api.messages.send, { conversationId, body: "before" });
    const reader = await stage.http("alice");
    const first = await reader.consistentQuery(api.messages.list, page(conversationId));
    assert.deepEqual(bodies(first), ["before"]);

    await writer.mutation(api.messages.send, { conversationId, body: "after" });
    await writer.mutation(api.presence.setPresence, { conversationId, status: "online" });
    const again = await reader.consistentQuery(api.messages.list, page(conversationId));
    assert.deepEqual(bodies(again), ["before"]);
    assert.deepEqual(
      await reader.consistentQuery(api.presence.getPresence, { conversationId }),
      [],
    );
    assert.deepEqual(bodies(await reader.query(api.messages.list, page(conversationId))), [
      "after",
      "before",
    ]);
    const fresh = await stage.http("alice");
    assert.deepEqual(bodies(await fresh.consistentQuery(api.messages.list, page(conversationId))), [
      "after",
      "before",
    ]);
  });

  test("an admin reaches internal functions", async (stage) => {
    const alice = await stage.as("alice");
    const conversationId = await stage.conversation(alice);
    await alice.mutation(api.presence.setPresence, { conversationId, status: "online" });
    const http = await stage.http();
    http.setAdminAuth(await stage.server.adminKey());
    assert.equal(await http.mutation(api.presence.cleanupPresence, {}), null);
    const records = await alice.query(api.presence.getPresence, { conversationId });
    assert.equal(records.length, 1, "a fresh record is not stale");
  });

  test("a request without a client library", async (stage) => {
    const { server } = stage;
    const token = await server.token(stage.userId("alice"));
    const headers = { Authorization: `Bearer ${token}` };
    const create = { path: "conversations:create", args: { memberIds: [] } };
    const created = await post(server, "/api/mutation", create, headers);
    assert.equal(created.status, 200);
    assert.deepEqual(Object.keys(created.json).sort(), ["status", "value"]);
    assert.equal(created.json.status, "success");

    const list = { path: "conversations:list", args: [{}], format: "json" };
    const listed = await post(server, "/api/query", list, headers);
    assert.deepEqual(
      listed.json.value.map(({ _id }) => _id),
      [created.json.value],
    );

    const failed = await post(server, "/api/mutation", create);
    assert.equal(failed.status, 200);
    assert.equal(failed.json.status, "error");
    assert.match(failed.json.errorMessage, /Not authenticated/);
    assert(!("errorData" in failed.json));
  });

  test("requests that are no calls", async (stage) => {
    const { server } = stage;
    const call = { path: "conversations:list", args: {} };
    for (const [body, code, headers] of [
      ["{", "BadJsonBody"],
      [{ path: "conversations:list" }, "BadJsonBody"],
      [{ ...call, args: 5 }, "BadJsonBody"],
      [call, "BadJsonBody", { "Content-Type": "text/plain" }],
      [{ ...call, path: "not-a-module:list" }, "BadConvexFunctionIdentifier"],
      [{ ...call, format: "xml" }, "BadFormat"],
    ]) {
      const { status, json } = await post(server, "/api/query", body, headers);
      assert.deepEqual(
        [status, json?.code, typeof json?.message],
        [400, code, "string"],
        JSON.stringify(body),
      );
    }
    const nowhere = await fetch(`${server.url}/api/nowhere`);
    assert.deepEqual([nowhere.status, await nowhere.text()], [404, ""]);
    const version = await fetch(`${server.url}/version`);
    assert.equal(version.status, 200);
    assert.notEqual(await version.text(), "");
  });

  test("a browser's preflight is answered", async (stage) => {
    const response = await fetch(`${stage.server.url}/api/mutation`, {
      method: "OPTIONS",
      headers: {
        Origin: "http://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,convex-client",
      },
    });
    assert(response.ok);
    assert.equal(response.headers.get("access-control-allow-origin"), "http://app.example");
    assert.equal(response.headers.get("access-control-allow-credentials"), "true");
    assert.match(response.headers.get("access-control-allow-headers"), /convex-client/i);
  });
});
