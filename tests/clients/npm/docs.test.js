// The samples of docs/clients.md: each one runs, and prints what it says.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { WebSocket } from "ws";
import { transform } from "esbuild";
import { api, keptLog } from "./harness/client.js";
import { suite } from "./harness/suite.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PAGE = new URL("../../../docs/clients.md", import.meta.url);

async function samples(language) {
  const page = await readFile(PAGE, "utf8");
  return [...page.matchAll(/^```(\w+)\n([^]*?)^```$/gm)]
    .filter(([, found]) => found === language)
    .map(([, , code]) => code);
}

// Beside the clients, so that they are found by name.
async function inFile(code, use) {
  const folder = await mkdtemp(join(HERE, "node_modules", ".sample-"));
  try {
    const file = join(folder, "sample.mjs");
    await writeFile(file, code);
    return await use(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const texts = (node) =>
  node === null || typeof node === "string"
    ? [node]
    : [node].flat().flatMap((n) => n.children ?? []);

suite("docs", (test) => {
  test("samples for browsers, Node and HTTP", async ({ server }) => {
    const found = await samples("js");
    assert.equal(found.length, 2);
    for (const code of found) {
      const expected = [...code.matchAll(/^\/\/ → (.*)$/gm)]
        .map(([, line]) => `${line}\n`)
        .join("");
      const env = { ...process.env, CONVEX_URL: server.url, TOKEN: await server.token("alice") };
      // No release but the newest: the page is about that one.
      delete env.NODE_OPTIONS;
      const { stdout, stderr } = await inFile(code, (file) =>
        promisify(execFile)(process.execPath, [file], { env }),
      );
      assert.deepEqual([stdout, stderr], [expected, ""]);
    }
  });

  test("the sample for React", async (stage) => {
    const { createElement } = await import("react");
    const { act, create } = await import("react-test-renderer");
    const [code] = await samples("jsx");
    const { code: plain } = await transform(code, { loader: "jsx", jsx: "automatic" });
    await inFile(plain, async (file) => {
      const { App, connect } = await import(pathToFileURL(file));
      const { logger } = keptLog();
      const client = connect(stage.server.url, { logger, webSocketConstructor: WebSocket });
      const token = await stage.server.token(stage.userId("alice"));
      client.setAuth(async () => token);
      try {
        const conversationId = await client.mutation(api.conversations.create, { memberIds: [] });
        for (const body of ["a", "b"]) {
          await client.mutation(api.messages.send, { conversationId, body });
        }
        let root;
        globalThis.IS_REACT_ACT_ENVIRONMENT = true;
        act(() => void (root = create(createElement(App, { client, conversationId }))));
        const until = async (expected) => {
          while (`${texts(root.toJSON())}` !== `${expected}`) {
            await act(() => new Promise((resolve) => setImmediate(resolve)));
          }
        };
        const click = (n) => act(() => root.root.findAllByType("button")[n].props.onClick());
        await until(["b", "a", "CanLoadMore", "send"]);
        await click(1);
        await until(["hello", "b", "a", "CanLoadMore", "send"]);
        await click(0);
        await until(["hello", "b", "a", "Exhausted", "send"]);
        act(() => root.unmount());
      } finally {
        await client.close();
      }
    });
  });
});
