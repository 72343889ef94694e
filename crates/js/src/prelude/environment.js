// The realm of a function before its module is imported: `Convex`, the controlled sources of time and
// randomness, console, and the driver that the host turns.
//
// The host is reached by `host(name, text)` alone; it is taken off the global object here. What user
// code may replace (JSON, Promise, prototypes) is remembered before it can.
"use strict";
(() => {
  const host = globalThis.host;
  delete globalThis.host;
  const { stringify, parse } = JSON;
  const { construct, defineProperty, get } = Reflect;
  const { freeze, create } = Object;
  const then = Function.prototype.call.bind(Promise.prototype.then);
  const slice = Function.prototype.call.bind(String.prototype.slice);
  const OurPromise = Promise;
  const OurError = Error;
  const OurString = String;
  const hide = (target, name, value) =>
    defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });

  // --- calls of the host ----------------------------------------------------------------------

  /** Calls that nobody has taken to the host yet, from `first` on, and those that wait for its answer. */
  const queue = create(null);
  let first = 0;
  let behind = 0;

  const texts = (op, args) => {
    if (typeof op !== "string" || typeof args !== "string") {
      throw new TypeError("a system call takes two strings");
    }
  };

  const ask = (op, args) =>
    new OurPromise((resolve, reject) => {
      queue[behind++] = { op, args, resolve, reject };
    });

  const Convex = {
    syscall(op, args) {
      texts(op, args);
      return host("syscall " + op, args);
    },
    asyncSyscall(op, args) {
      texts(op, args);
      return ask(op, args);
    },
    jsSyscall(op, args) {
      const call = get(jsSyscalls, op);
      if (call === undefined) host("refuse", `Unknown JS syscall: ${op}`);
      return call(args);
    },
  };
  const jsSyscalls = create(null);
  hide(globalThis, "Convex", Convex);

  // --- time -----------------------------------------------------------------------------------

  const RealDate = Date;
  const now = () => host("now", "");
  const dateToString = Function.prototype.call.bind(RealDate.prototype.toString);
  function FixedDate(...args) {
    if (new.target === undefined) return dateToString(new RealDate(now()));
    return construct(RealDate, args.length === 0 ? [now()] : args, new.target);
  }
  defineProperty(FixedDate, "name", { value: "Date", configurable: true });
  defineProperty(FixedDate, "length", { value: 7, configurable: true });
  defineProperty(FixedDate, "prototype", { value: RealDate.prototype, writable: false });
  hide(RealDate.prototype, "constructor", FixedDate);
  hide(FixedDate, "now", function now_() {
    return now();
  });
  defineProperty(FixedDate.now, "name", { value: "now", configurable: true });
  hide(FixedDate, "parse", RealDate.parse);
  hide(FixedDate, "UTC", RealDate.UTC);
  hide(globalThis, "Date", FixedDate);

  const began = host("performance", "");
  hide(globalThis, "performance", {
    timeOrigin: began,
    now: () => host("performance", "") - began,
  });

  // --- randomness -----------------------------------------------------------------------------

  hide(Math, "random", function random() {
    return host("random", "");
  });

  // Garbage collection is not observable.
  hide(
    globalThis,
    "WeakRef",
    class WeakRef {
      #target;
      constructor(target) {
        if ((typeof target !== "object" && typeof target !== "function") || target === null) {
          throw new TypeError("WeakRef: target must be an object");
        }
        this.#target = target;
      }
      deref() {
        return this.#target;
      }
    },
  );
  hide(
    globalThis,
    "FinalizationRegistry",
    class FinalizationRegistry {
      register() {}
      unregister() {
        return false;
      }
    },
  );
  delete globalThis.Atomics;
  delete globalThis.SharedArrayBuffer;

  // --- process --------------------------------------------------------------------------------

  const env = new Proxy(create(null), {
    get: (_, name) => {
      if (typeof name !== "string") return undefined;
      return host("env", name) ?? undefined;
    },
    has: (_, name) => typeof name === "string" && host("env", name) !== null,
    set: () => true,
    ownKeys: () => [],
  });
  hide(globalThis, "process", { env });
  hide(globalThis, "self", globalThis);

  // --- what only actions can do ---------------------------------------------------------------

  const isAction = host("mode", "") === "action";
  const define = (name, fn) => {
    defineProperty(fn, "name", { value: name, configurable: true });
    hide(globalThis, name, fn);
  };
  const timers = new Map();
  let timerIds = 0;
  const clear = (id) => void timers.delete(id);
  const start = (name, repeats) => (callback, delay, ...rest) => {
    if (typeof callback !== "function") throw new TypeError(`${name}: the first argument is no function`);
    const wait = Math.max(0, Math.min(Number(delay) || 0, 2 ** 31 - 1));
    const id = ++timerIds;
    timers.set(id, true);
    const arm = () =>
      then(ask("sleep", OurString(wait)), () => {
        if (!timers.has(id)) return;
        if (repeats) arm();
        else timers.delete(id);
        callback(...rest);
      });
    arm();
    return id;
  };
  if (isAction) {
    define("setTimeout", start("setTimeout", false));
    define("setInterval", start("setInterval", true));
  } else {
    const refused = (thing) => () => host("unavailable", thing);
    define("fetch", async () => host("unavailable", "fetch()"));
    define("setTimeout", refused("setTimeout"));
    define("setInterval", refused("setInterval"));
  }
  define("clearTimeout", clear);
  define("clearInterval", clear);

  // --- errors ---------------------------------------------------------------------------------

  const prototypeOf = Object.getPrototypeOf;
  const inheritsError = (value) => {
    if (typeof value !== "object" || value === null) return false;
    for (let p = value; p !== null; p = prototypeOf(p)) if (p === OurError.prototype) return true;
    return false;
  };
  const shown = (value) => {
    try {
      return OurString(value);
    } catch {
      return "";
    }
  };

  /** What was thrown, as JSON: {message, stack, data?}. Never throws. */
  const describe = (thrown) => {
    const told = create(null);
    try {
      if (inheritsError(thrown)) {
        const name = shown(thrown.name);
        const message = shown(thrown.message);
        told.message = "Uncaught" + (name ? " " + name : "") + (name && message ? ":" : "") +
          (message ? " " + message : "");
        told.stack = typeof thrown.stack === "string" ? thrown.stack : "";
        const symbol = thrown.ConvexErrorSymbol;
        if (typeof symbol === "symbol" && thrown[symbol] === true) told.data = shown(thrown.data);
      } else {
        told.message = "Uncaught " + shown(thrown);
        told.stack = "";
      }
    } catch {
      told.message ??= "Uncaught";
      told.stack ??= "";
    }
    return stringify(told);
  };

  // --- the driver -----------------------------------------------------------------------------

  const modules = create(null);
  /** How the call ended: "+" and its result, or "-" and what was thrown. */
  let end = null;

  const driver = {
    /** Keeps the namespace of an imported module. */
    take(name, namespace) {
      modules[name] = namespace;
    },
    /** Starts a call. Gives what is wrong with the function, or null. */
    begin(module, name, kind, args) {
      const namespace = modules[module];
      if (!(name in namespace)) return `Couldn't find ${stringify(name)} in module ${stringify(module)}.`;
      const fn = namespace[name];
      const is = (marker) => fn !== null && fn !== undefined && fn[marker] === true;
      let promise;
      try {
        if (kind === "query") {
          if (!is("isQuery")) return wrongKind(is("isMutation"), name, "mutation", "query");
          promise = fn.invokeQuery(args);
        } else if (kind === "mutation") {
          if (!is("isMutation")) return wrongKind(is("isQuery"), name, "query", "mutation");
          promise = fn.invokeMutation(args);
        } else {
          if (!is("isAction")) return `Function ${name} is not an action.`;
          promise = fn.invokeAction("", args);
        }
      } catch (thrown) {
        end = "-" + describe(thrown);
        return null;
      }
      then(
        OurPromise.resolve(promise),
        (value) => {
          end = typeof value === "string"
            ? "+" + value
            : "-" + describe(new OurError(`Function ${name} returned no text`));
        },
        (thrown) => {
          end = "-" + describe(thrown);
        },
      );
      return null;
    },
    /** The oldest call that was not taken yet: "number op\nargs"; null: none. */
    next() {
      if (first === behind) return null;
      const { op, args } = queue[first];
      return first++ + " " + op + "\n" + args;
    },
    /** Answers a call that was taken: "+" and its result, or "-" and JSON {message, data?}. */
    settle(number, answer) {
      const { resolve, reject } = queue[number];
      delete queue[number];
      if (answer[0] === "+") return void resolve(slice(answer, 1));
      const { message, data } = parse(slice(answer, 1));
      const error = new OurError(message);
      if (data !== undefined) error.data = data;
      reject(error);
    },
    /** How the call ended; null: it has not. */
    end: () => end,
    describe,
    /** The functions of a module, as JSON. */
    analyze: (module) => stringify(analyze(modules[module])),
  };

  const wrongKind = (isOther, name, other, kind) =>
    isOther
      ? `Function ${name} is registered as a ${other} but is being run as a ${kind}.`
      : `Function ${name} is neither a query or mutation. Did you forget to wrap it with \`query\` or \`mutation\`?`;

  const analyze = (namespace) => {
    const functions = [];
    for (const name in namespace) {
      const fn = namespace[name];
      if ((typeof fn !== "object" && typeof fn !== "function") || fn === null) continue;
      const kinds = [["isQuery", "query"], ["isMutation", "mutation"], ["isAction", "action"]]
        .filter(([marker]) => marker in fn);
      if (kinds.length !== 1 || ("isPublic" in fn && "isInternal" in fn)) continue;
      const text = (method) => {
        const text = typeof fn[method] === "function" ? fn[method]() : null;
        if (text !== null && typeof text !== "string") {
          throw new OurError(`${method}() of ${stringify(name)} did not return a string`);
        }
        return text;
      };
      functions.push({
        name,
        kind: kinds[0][1],
        visibility: "isInternal" in fn ? "internal" : "public",
        args: text("exportArgs"),
        returns: text("exportReturns"),
      });
    }
    return functions;
  };

  freeze(driver);
  // The host takes these off the global object again.
  for (const name in driver) globalThis["driver_" + name] = driver[name];
  globalThis.web = { host, hide, ask, isAction };
  globalThis.tell = (level, text) => host("log " + level, text);
})();
