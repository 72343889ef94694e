// How long each client takes to be back: the figures of docs/clients.md.
//
//     node reconnect-times.js             all clients, a table
//
// Each client subscribes behind a proxy. After a fault the proxy notes when the next connection comes
// and when the first result passes on it.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { connect, deferred, within } from "./harness/client.js";
import { Proxy } from "./harness/proxy.js";
import { Server } from "./harness/server.js";
import { anyApi as api } from "convex/server";

const RUNS = 15;
const WAIT_MS_MAX = 120_000;
const PYTHON = fileURLToPath(new URL("../python/.venv/bin/python", import.meta.url));
const VIEWER = `
import sys
from convex import ConvexClient
for _ in ConvexClient(sys.argv[1]).subscribe("conversations:list"): pass
`;

const CLIENTS = {
  npm(url) {
    const client = connect(url);
    client.onUpdate(api.conversations.list, {}, () => {});
    return () => client.close();
  },
  "Rust, Python"(url) {
    const child = spawn(PYTHON, ["-c", VIEWER, url], { stdio: "ignore" });
    return () => child.kill("SIGKILL");
  },
};

const each = (proxy, step) => [...proxy.open].forEach(step);
const FAULTS = {
  "reset by the network": (proxy) => proxy.cut(),
  "end of both directions": (proxy) => each(proxy, (connection) => connection.drop()),
  "end of the server's direction": (proxy) => each(proxy, (c) => c.halfClose("client")),
  "end of the client's direction": (proxy) => each(proxy, (c) => c.halfClose("server")),
  "server killed, back at once": async (proxy, server) => {
    await server.kill();
    await server.restart();
  },
  "server stopped in order, back at once": async (proxy, server) => {
    await server.stop();
    await server.restart();
  },
  "three attempts refused": async (proxy) => {
    const third = deferred();
    let refused = 0;
    proxy.onRefusal = () => ++refused === 3 && third.resolve();
    proxy.refusing = true;
    proxy.cut();
    await third.promise;
    proxy.refusing = false;
  },
  "silence, until it is noticed": (proxy) => each(proxy, (connection) => connection.hold()),
};

async function measure(start, fault, server, serial) {
  const proxy = await Proxy.start(server.port);
  let wait = deferred();
  let connected;
  proxy.onConnection = () => (connected = performance.now());
  proxy.gate = ({ type, modifications }) => {
    if (type === "Transition" && modifications.length > 0) wait.resolve(performance.now());
  };
  const stop = start(proxy.url);
  await within(wait.promise, "the first result", WAIT_MS_MAX);
  // Not always at the same moment of the client's and the server's own rhythm.
  await new Promise((resolve) => setTimeout(resolve, 37 * serial));
  wait = deferred();
  const began = performance.now();
  await fault(proxy, server);
  const shown = await within(wait.promise, "a result", WAIT_MS_MAX);
  stop();
  await proxy.close();
  return [connected - began, shown - began];
}

const seconds = (ms) => (ms / 1000).toFixed(2);
function summary(list) {
  const sorted = list.toSorted((a, b) => a - b);
  return `${seconds(sorted[0])} – ${seconds(sorted.at(-1))}, median ${seconds(sorted[sorted.length >> 1])}`;
}

for (const [client, start] of Object.entries(CLIENTS)) {
  for (const [name, fault] of Object.entries(FAULTS)) {
    const server = await Server.start();
    const results = [];
    const side = name.startsWith("server");
    const runs = Array.from({ length: name.startsWith("silence") ? 3 : RUNS }, (_, n) => n);
    const one = async (n) => void results.push(await measure(start, fault, server, n));
    if (side) for (const n of runs) await one(n);
    else await Promise.all(runs.map(one));
    const [connected, shown] = [0, 1].map((n) => summary(results.map((pair) => pair[n])));
    console.log(`| ${client} | ${name} | ${connected} | ${shown} |`);
    await server.close();
  }
}
process.exit(0);
