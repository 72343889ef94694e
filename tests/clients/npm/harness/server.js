// A server under test: its own data folder and free ports, ready when `start` returns.
//
// The program comes from CONCAVE_BIN, else from the debug build of this workspace. What it
// wrote to stderr is kept, and shown with the failure it may explain.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const WORKSPACE = fileURLToPath(new URL("../../../../", import.meta.url));
const START_MS_MAX = 20_000;
const STOP_MS_MAX = 20_000;
const STDERR_CHARS_MAX = 20_000;

/** Path of the program under test. */
export const CONCAVE_BIN = process.env.CONCAVE_BIN ?? join(WORKSPACE, "target/debug/concave");

const run = promisify(execFile);

// A test file that dies must not leave its servers behind.
const children = new Set();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

export class Server {
  #process;
  #stderr = "";
  #flags;
  #base;
  #tokens = new Map();

  /**
   * Starts a server on an empty folder with `flags` added to `concave serve`. `base`: the base
   * application of the tests instead, which has actions and counters, and no users.
   */
  static async start({ flags = ["--dev-auth"], base = false } = {}) {
    const server = new Server();
    server.#base = base;
    server.data = await mkdtemp(join(tmpdir(), "concave-clients-"));
    server.#flags = flags;
    await server.#spawn(0);
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What the last process wrote to stderr: its end, if that was much. */
  get stderr() {
    return this.#stderr;
  }

  /** A token of `user`; without `ttl` (seconds) it is made once and used again. */
  async token(user, { ttl } = {}) {
    if (ttl !== undefined) return this.#concave("token", "--user", user, "--ttl", `${ttl}`);
    if (!this.#tokens.has(user)) this.#tokens.set(user, this.#concave("token", "--user", user));
    return this.#tokens.get(user);
  }

  /** The admin key of this data folder. */
  adminKey() {
    return this.#concave("admin-key");
  }

  /** Ends the process without warning, as a loss of power would end it. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** Asks the process to end in order and returns its exit code. */
  async stop() {
    return this.#end("SIGTERM");
  }

  /** A new process on the same data, on the same port unless `port` says otherwise. */
  async restart({ port = this.port } = {}) {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.kill();
    await this.#spawn(port);
  }

  /** Ends the process and removes the data folder. */
  async close() {
    await this.kill();
    await rm(this.data, { recursive: true, force: true });
  }

  async #concave(...args) {
    const { stdout } = await run(CONCAVE_BIN, [...args, "--data", this.data]);
    return stdout.trim();
  }

  async #spawn(port) {
    const serve = ["serve", "--port", `${port}`, "--site-port", "0", "--data", this.data];
    serve.push("--app", "presence", ...this.#flags);
    const [program, args] = this.#base
      ? [join(dirname(CONCAVE_BIN), "base-server"), [this.data, `${port}`]]
      : [CONCAVE_BIN, serve];
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    children.add(child);
    child.once("exit", () => children.delete(child));
    this.#process = child;
    this.#stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARS_MAX);
    });
    this.port = await this.#ready(child);
  }

  #ready(child) {
    return new Promise((resolve, reject) => {
      const fail = (why) => {
        clearTimeout(timer);
        reject(new Error(`concave serve ${why}\n${this.#stderr}`));
      };
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        fail(`was not ready within ${START_MS_MAX} ms`);
      }, START_MS_MAX);
      child.once("error", (error) => fail(`did not start: ${error.message}`));
      child.once("exit", (code, signal) => fail(`ended with ${signal ?? code}`));
      createInterface({ input: child.stdout }).on("line", (line) => {
        const match = /^listening on http:\/\/127\.0\.0\.1:(\d+)$/.exec(line);
        if (match === null) return;
        clearTimeout(timer);
        resolve(Number(match[1]));
      });
    });
  }

  async #end(signal) {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const ended = once(child, "exit");
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
    const [code] = await ended;
    clearTimeout(timer);
    return code;
  }
}
