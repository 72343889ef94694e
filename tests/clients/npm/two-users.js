// Two users in a room, live: online, typing, gone. After each step, what each of them sees.
//
//     node two-users.js            against a server of its own
//     node two-users.js URL DATA   against the server at URL whose data folder is DATA
//
// Everything here is the official client; only the tokens come from `concave token`.

import { execFileSync } from "node:child_process";
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { CONCAVE_BIN, Server } from "./harness/server.js";

const [url, data] = process.argv.slice(2);
const own = url === undefined ? await Server.start() : undefined;

function token(user) {
  const args = ["token", "--user", user, "--data", data ?? own.data];
  return execFileSync(CONCAVE_BIN, args, { encoding: "utf8" }).trim();
}

function signedIn(user) {
  const client = new ConvexClient(url ?? own.url, { logger: false });
  const value = token(user);
  client.setAuth(async () => value);
  return client;
}

const people = { alice: signedIn("alice"), bob: signedIn("bob") };
const create = { memberIds: ["bob"], title: "general" };
const conversationId = await people.alice.mutation(api.conversations.create, create);

// Subscribes `user` and returns a function that waits until the user's view reads as expected.
function watch(user) {
  let view;
  let waiting;
  const changed = () => {
    if (view === waiting?.expected) waiting.resolve();
  };
  people[user].onUpdate(api.presence.getPresence, { conversationId }, (records) => {
    view =
      records
        .map(({ userId, status }) => `${userId} ${status}`)
        .sort()
        .join(", ") || "nobody";
    changed();
  });
  return async (expected) => {
    await new Promise((resolve) => {
      waiting = { expected, resolve };
      changed();
    });
    return `  ${user} sees: ${view}`;
  };
}

const views = Object.keys(people).map(watch);
async function everyoneSees(expected) {
  console.log((await Promise.all(views.map((view) => view(expected)))).join("\n"));
}

console.log("in an empty room");
await everyoneSees("nobody");
for (const [user, status, expected] of [
  ["alice", "online", "alice online"],
  ["bob", "online", "alice online, bob online"],
  ["alice", "typing", "alice typing, bob online"],
  ["alice", "online", "alice online, bob online"],
  ["bob", "offline", "alice online, bob offline"],
]) {
  console.log(`${user}: presence:setPresence ${status}`);
  await people[user].mutation(api.presence.setPresence, { conversationId, status });
  await everyoneSees(expected);
}

await Promise.all(Object.values(people).map((client) => client.close()));
await own?.close();
