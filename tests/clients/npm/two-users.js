// Two users in a room, live: online, typing, gone. What each of them sees is printed as it comes.
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

// Prints every change of `user`'s view, and resolves when it reads as expected.
function watch(user) {
  let view = "";
  let waiting;
  people[user].onUpdate(api.presence.getPresence, { conversationId }, (records) => {
    const others = records.map(({ userId, status }) => `${userId} is ${status}`).sort();
    view = others.join(", ") || "nobody is here";
    console.log(`${user.padEnd(5)} sees  ${view}`);
    if (view === waiting?.expected) waiting.resolve();
  });
  return (expected) =>
    new Promise((resolve) => {
      if (view === expected) resolve();
      else waiting = { expected, resolve };
    });
}

const sees = Object.keys(people).map(watch);
const everyoneSees = (expected) => Promise.all(sees.map((until) => until(expected)));

await everyoneSees("nobody is here");
for (const [user, status, expected] of [
  ["alice", "online", "alice is online"],
  ["bob", "online", "alice is online, bob is online"],
  ["alice", "typing", "alice is typing, bob is online"],
  ["alice", "online", "alice is online, bob is online"],
  ["bob", "offline", "alice is online, bob is offline"],
]) {
  console.log(`\n${user}: setPresence ${status}`);
  await people[user].mutation(api.presence.setPresence, { conversationId, status });
  await everyoneSees(expected);
}

await Promise.all(Object.values(people).map((client) => client.close()));
await own?.close();
