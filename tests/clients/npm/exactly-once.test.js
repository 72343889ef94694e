// A mutation whose answer was lost is sent again and happens once, two hundred times over, also when
// the server was restarted in between.

import assert from "node:assert/strict";
import { api, deferred, within } from "./harness/client.js";
import { suite } from "./harness/suite.js";
import { checkConnection } from "./harness/wire.js";

const LOST = 200;
const CLIENTS = 25;
const NAME = "x";

// Clients that wait for one call after the other, each behind a proxy of its own.
function clients(stage) {
  return Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const proxy = await stage.proxy();
      return { proxy, client: stage.anonymous({ via: proxy }) };
    }),
  );
}

// Has the next answer to a mutation be lost, by `verdict`; gives what it said.
function loseNextAnswer(proxy, verdict) {
  const lost = deferred();
  proxy.gate = (message) => {
    if (message.type !== "MutationResponse") return undefined;
    proxy.gate = undefined;
    lost.resolve(message.result);
    return verdict(message);
  };
  return lost.promise;
}

// Nothing, a byte, the head, or all but the last byte of the answer passes; or the line ends in order;
// or one side of it.
const LOSSES = [
  () => ({ cutAfter: 0 }),
  () => ({ cutAfter: 1 }),
  () => ({ cutAfter: 4 }),
  (message) => ({ cutAfter: JSON.stringify(message).length }),
  () => ({ drop: true }),
  () => ({ halfClose: "client" }),
];

suite(
  "exactly once",
  (test) => {
    test(`${LOST} lost answers, and the server restarted between commit and resend`, async (stage) => {
      const people = await clients(stage);
      const answers = [];
      const ask = async ({ proxy, client }, verdict) => {
        const lost = loseNextAnswer(proxy, verdict);
        let settled = 0;
        const value = await client
          .mutation(api.counters.incr, { name: NAME })
          .finally(() => void (settled += 1));
        assert.equal(value, await lost, "the answer is that of the first run");
        assert.equal(settled, 1);
        answers.push(value);
      };
      const rounds = LOST / CLIENTS - 1;
      await Promise.all(
        people.map(async (person, c) => {
          for (let n = 0; n < rounds; n++) await ask(person, LOSSES[(c + n) % LOSSES.length]);
        }),
      );

      // The last round: everybody's answer is held back, and the server dies.
      let held = 0;
      const all = deferred();
      const hold = () => {
        if (++held === CLIENTS) all.resolve();
        return { hold: true };
      };
      const asked = Promise.all(people.map((person) => ask(person, hold)));
      await within(Promise.race([all.promise, asked]), "every commit");
      await stage.server.kill();
      await stage.server.restart({ port: 0 });
      for (const { proxy } of people) {
        proxy.target = stage.server.port;
        proxy.cut();
      }
      await asked;

      assert.deepEqual(
        answers.toSorted((a, b) => a - b),
        Array.from({ length: LOST }, (_, n) => n + 1),
      );
      const fresh = stage.anonymous();
      assert.equal(await fresh.query(api.counters.count, { name: NAME }), LOST);
      for (const { proxy } of people) {
        for (const journal of proxy.journals) checkConnection(journal, { complete: false });
        checkConnection(proxy.journals.at(-1));
      }
    });

    test("a request that was lost on its way happens once", async (stage) => {
      const people = await clients(stage);
      const name = "up";
      await Promise.all(
        people.map(async ({ proxy, client }, c) => {
          // The connection is there; of the frame with the mutation a part passes.
          await client.query(api.counters.count, { name: `${name} ${c}` });
          let lost = 0;
          proxy.clientGate = (message) => {
            if (message.type !== "Mutation" || lost++ > 0) return undefined;
            return { cutAfter: 3 * c };
          };
          assert.equal(await client.mutation(api.counters.incr, { name: `${name} ${c}` }), 1);
          assert(lost > 1, "the request was not lost");
          assert.equal(await client.query(api.counters.count, { name: `${name} ${c}` }), 1);
        }),
      );
    });
  },
  { base: true },
);
