// The React client and its hooks.

import assert from "node:assert/strict";
import {
  ConvexProviderWithAuth,
  useAction,
  useConvexAuth,
  useMutation,
  usePaginatedQuery,
  useQueries,
  useQuery,
} from "convex/react";
import { useCallback, useMemo, useState } from "react";
import { api } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const page = (conversationId, numItems = 100) => ({
  conversationId,
  paginationOpts: { numItems, cursor: null },
});
const bodies = (messages) => messages.map(({ body }) => Number(body));
const newestFirst = (from, to = 0) => Array.from({ length: from - to + 1 }, (_, n) => from - n);
const send = (client, conversationId, body) =>
  client.mutation(api.messages.send, { conversationId, body: `${body}` });

async function fill(client, conversationId, from, to) {
  for (let n = from; n <= to; n++) await send(client, conversationId, n);
}

// Equal neighbours are one view.
function dropRepeats(views) {
  const texts = views.map((view) => JSON.stringify(view));
  return views.filter((_, n) => texts[n] !== texts[n - 1]);
}

suite("react", (test) => {
  test("useQuery and useMutation with an optimistic update", async (stage) => {
    const proxy = await stage.proxy();
    const client = await stage.reactAs("alice", { via: proxy });
    // Each request is lost on its way, so that its draft is there to be seen until it is sent again.
    const sendThroughLoss = async (body) => {
      let lost = 0;
      proxy.clientGate = ({ type }) =>
        type === "Mutation" && lost++ === 0 ? { hold: true } : undefined;
      const sent = mounted.last.sending({ conversationId, body });
      sent.catch(() => {});
      await mounted.until(({ shown }) => shown.includes(`${body}*`));
      proxy.cut();
      return sent;
    };
    const conversationId = await stage.conversation(client);
    const draft = (store, { body }) => {
      const shown = store.getQuery(api.messages.list, page(conversationId));
      if (shown === undefined) return;
      const messages = [{ _id: "draft", body: `${body}*` }, ...shown.page];
      store.setQuery(api.messages.list, page(conversationId), { ...shown, page: messages });
    };
    const mounted = await stage.mount(client, () => {
      const messages = useQuery(api.messages.list, page(conversationId));
      const sending = useMutation(api.messages.send).withOptimisticUpdate(draft);
      return { shown: messages?.page.map(({ body }) => body), sending };
    });
    await mounted.until(({ shown }) => shown !== undefined);
    await sendThroughLoss("a");
    await mounted.until(({ shown }) => shown.length === 1 && shown[0] === "a");
    await assert.rejects(sendThroughLoss(5), /ArgumentValidationError/);
    await mounted.until(({ shown }) => shown.length === 1);
    const views = dropRepeats(mounted.values.map(({ shown }) => shown ?? null));
    assert.deepEqual(views, [null, [], ["a*"], ["a"], ["5*", "a"], ["a"]]);
  });

  test("useQuery that is skipped, and one whose arguments change", async (stage) => {
    const client = await stage.reactAs("alice");
    const rooms = [await stage.conversation(client), await stage.conversation(client)];
    for (const [n, room] of rooms.entries()) await send(client, room, n);
    const mounted = await stage.mount(client, () => {
      const [room, choose] = useState("skip");
      const messages = useQuery(api.messages.list, room === "skip" ? room : page(room));
      return { shown: messages && bodies(messages.page), choose };
    });
    assert.equal(mounted.last.shown, undefined);
    for (const n of [0, 1, 0]) {
      mounted.last.choose(rooms[n]);
      await mounted.until(({ shown }) => shown?.[0] === n);
    }
    mounted.last.choose("skip");
    await mounted.until(({ shown }) => shown === undefined);
  });

  test("useQueries: some come, some fail, none disturbs the others", async (stage) => {
    const client = await stage.reactAs("alice");
    const rooms = [await stage.conversation(client), await stage.conversation(client)];
    const mounted = await stage.mount(client, () => {
      const queries = useMemo(
        () => ({
          first: { query: api.messages.list, args: page(rooms[0]) },
          second: { query: api.messages.list, args: page(rooms[1]) },
          bad: { query: api.messages.list, args: {} },
          missing: { query: api.nowhere.nothing, args: {} },
        }),
        [],
      );
      return useQueries(queries);
    });
    await mounted.until((all) => Object.values(all).every((result) => result !== undefined));
    assert.match(`${mounted.last.bad}`, /ArgumentValidationError/);
    assert.match(`${mounted.last.missing}`, /Could not find public function/);
    assert.deepEqual([mounted.last.first.page, mounted.last.second.page], [[], []]);
    await send(client, rooms[1], 7);
    await mounted.until(({ second }) => second.page.length === 1);
    assert.deepEqual(mounted.last.first.page, []);
  });

  test("usePaginatedQuery loads more, grows at its head and splits", async (stage) => {
    const proxy = await stage.proxy();
    const client = await stage.reactAs("alice", { via: proxy });
    const conversationId = await stage.conversation(client);
    await fill(client, conversationId, 0, 11);
    const mounted = await stage.mount(client, () =>
      usePaginatedQuery(api.messages.list, { conversationId }, { initialNumItems: 4 }),
    );
    assert.equal(mounted.last.status, "LoadingFirstPage");
    await mounted.until(({ status }) => status === "CanLoadMore");
    assert.deepEqual(bodies(mounted.last.results), newestFirst(11, 8));
    mounted.last.loadMore(3);
    await mounted.until(({ status, results }) => status === "CanLoadMore" && results.length === 7);
    // More than twice the first page: it is split.
    await fill(client, conversationId, 12, 20);
    await mounted.until(({ results }) => results.length === 16);
    const splits = () =>
      proxy.journals[0].filter(({ message }) =>
        message.modifications?.some(({ args }) => args?.[0].paginationOpts?.endCursor),
      );
    await mounted.until(() => splits().length > 0);
    mounted.last.loadMore(100);
    await mounted.until(({ status }) => status === "Exhausted");
    assert.deepEqual(bodies(mounted.last.results), newestFirst(20));
    for (const { results } of mounted.values) {
      const shown = bodies(results);
      assert.deepEqual(shown, newestFirst(shown[0] ?? -1, shown.at(-1) ?? 0), "a gap");
    }
  });

  test("usePaginatedQuery over cuts and a restart: no gap", async (stage) => {
    const proxy = await stage.proxy();
    const client = await stage.reactAs("alice", { via: proxy });
    const bob = await stage.as("bob");
    const conversationId = await stage.conversation(client, bob);
    await fill(bob, conversationId, 0, 11);
    const mounted = await stage.mount(client, () =>
      usePaginatedQuery(api.messages.list, { conversationId }, { initialNumItems: 4 }),
    );
    await mounted.until(({ status }) => status === "CanLoadMore");
    // The page is asked for, and the line is cut before it comes.
    let lost = 0;
    proxy.gate = (message) => {
      const second = JSON.stringify(message).includes('"body":"7"');
      return second && lost++ === 0 ? { cutAfter: 10 } : undefined;
    };
    mounted.last.loadMore(4);
    await mounted.until(({ status, results }) => status === "CanLoadMore" && results.length === 8);
    assert(lost > 0, "the page was not lost");
    proxy.cut();
    await fill(bob, conversationId, 12, 13);
    await mounted.until(({ results }) => results.length === 10);
    assert.deepEqual(bodies(mounted.last.results), newestFirst(13, 4));
    await stage.server.kill();
    await stage.server.restart();
    await fill(bob, conversationId, 14, 14);
    await mounted.until(({ results }) => results.length === 11);
    assert.deepEqual(bodies(mounted.last.results), newestFirst(14, 4));
    for (const { results } of mounted.values) {
      const shown = bodies(results);
      assert.deepEqual(shown, newestFirst(shown[0] ?? -1, shown.at(-1) ?? 0), "a gap");
    }
    checkConnection(proxy.journals.at(-1));
  });

  test("ConvexProviderWithAuth signs in, refreshes and signs out", async (stage) => {
    const userId = stage.userId("alice");
    const proxy = await stage.proxy();
    const client = await stage.react({ via: proxy });
    let forced = 0;
    let sign;
    const useAuth = () => {
      const [isAuthenticated, set] = useState(true);
      sign = set;
      const fetchAccessToken = useCallback(async ({ forceRefreshToken }) => {
        if (forceRefreshToken) forced += 1;
        return stage.server.token(userId, { ttl: 3600 + forced });
      }, []);
      return useMemo(
        () => ({ isLoading: false, isAuthenticated, fetchAccessToken }),
        [isAuthenticated, fetchAccessToken],
      );
    };
    const hooks = () => ({
      ...useConvexAuth(),
      list: useQuery(api.conversations.list, {}),
      create: useMutation(api.conversations.create),
    });
    const around = { Provider: ConvexProviderWithAuth, props: { useAuth } };
    const mounted = await stage.mount(client, hooks, around);
    assert.equal(mounted.last.isLoading, true);
    const { create } = await mounted.until(({ isAuthenticated }) => isAuthenticated);
    await create({ memberIds: [] });
    await mounted.until(({ list }) => list?.length === 1);
    proxy.cut();
    await create({ memberIds: [] });
    await mounted.until(({ list }) => list?.length === 2);
    assert.equal(mounted.last.isAuthenticated, true);
    assert(forced >= 1, "the cached token was not renewed");
    sign(false);
    await mounted.until(({ isAuthenticated, list }) => !isAuthenticated && list?.length === 0);
    await assert.rejects(create({ memberIds: [] }), /Not authenticated/);
  });
});

suite(
  "react actions",
  (test) => {
    test("useAction runs one and watchers see it", async (stage) => {
      const client = await stage.react();
      const mounted = await stage.mount(client, () => ({
        count: useQuery(api.counters.count, { name: "react" }),
        act: useAction(api.counters.act),
        fail: useAction(api.counters.actAndThrow),
      }));
      assert.equal(await mounted.last.act({ name: "react" }), 1);
      await mounted.until(({ count }) => count === 1);
      await assert.rejects(mounted.last.fail({ name: "react" }), { data: { code: "thrown" } });
      await mounted.until(({ count }) => count === 2);
    });
  },
  { base: true },
);
