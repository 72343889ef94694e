// console: what was given, shown as the official backend shows it, one log line a call.
"use strict";
(() => {
  const tell = globalThis.tell;
  delete globalThis.tell;
  const STRING_MAX = 32768;
  const DEPTH_MAX = 5;
  const { getPrototypeOf, keys, getOwnPropertySymbols, prototype } = Object;
  const isEnumerable = Function.prototype.call.bind(prototype.propertyIsEnumerable);
  const tag = Function.prototype.call.bind(prototype.toString);

  const quoted = (text) => {
    let cut = text;
    let rest = "";
    if (text.length > STRING_MAX) {
      cut = text.slice(0, STRING_MAX);
      rest = `... ${text.length - STRING_MAX} more character${text.length - STRING_MAX > 1 ? "s" : ""}`;
    }
    const escaped = cut.replace(/['\\]/g, "\\$&").replace(/[\x00-\x1f]/g, (c) => {
      const known = { "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r" }[c];
      return known ?? "\\x" + (c.charCodeAt(0) < 16 ? "0" : "") + c.charCodeAt(0).toString(16).toUpperCase();
    });
    return `'${escaped}'${rest}`;
  };

  const name = (key) => (/^[A-Za-z_$][\w$]*$/.test(key) ? key : quoted(key));

  const block = (open, entries, close, depth) => {
    if (entries.length === 0) return open + close;
    const pad = "\n" + "  ".repeat(depth + 1);
    return open + pad + entries.join("," + pad) + "\n" + "  ".repeat(depth) + close;
  };

  const properties = (value, depth, seen) => {
    const entries = [];
    const isArray = Array.isArray(value);
    for (const key of keys(value)) {
      if (isArray && /^(0|[1-9]\d*)$/.test(key) && Number(key) < value.length) continue;
      entries.push(`${name(key)}: ${inspect(value[key], depth + 1, seen)}`);
    }
    for (const symbol of getOwnPropertySymbols(value)) {
      if (isEnumerable(value, symbol)) {
        entries.push(`[${String(symbol)}]: ${inspect(value[symbol], depth + 1, seen)}`);
      }
    }
    return entries;
  };

  const array = (value, depth, seen) => {
    const items = [];
    for (let n = 0; n < value.length; n += 1) {
      items.push(n in value ? inspect(value[n], depth + 1, seen) : "");
    }
    items.push(...properties(value, depth, seen));
    if (items.length === 0) return "[]";
    if (items.some((item) => item.includes("\n"))) return block("[", items, "]", depth);
    return `[ ${items.join(", ")} ]`;
  };

  const object = (value, depth, seen) => {
    const proto = getPrototypeOf(value);
    const constructor = proto?.constructor;
    const plain = proto === prototype || proto === null;
    let label = "";
    if (proto === null) label = "[Object: null prototype] ";
    else if (!plain && typeof constructor === "function" && constructor.name) label = constructor.name + " ";
    const toStringTag = value[Symbol.toStringTag];
    if (typeof toStringTag === "string" && toStringTag !== "" && label.trim() !== toStringTag && proto !== null) {
      label = `${label.trim() || "Object"} [${toStringTag}] `;
    }
    return block(label + "{", properties(value, depth, seen), "}", depth);
  };

  const inspect = (value, depth = 0, seen = []) => {
    switch (typeof value) {
      case "undefined":
        return "undefined";
      case "string":
        return quoted(value);
      case "number":
        return Object.is(value, -0) ? "-0" : String(value);
      case "bigint":
        return `${value}n`;
      case "boolean":
        return String(value);
      case "symbol":
        return String(value);
      case "function": {
        const label = value.name ? `[Function: ${value.name}]` : "[Function (anonymous)]";
        const entries = properties(value, depth, seen);
        return entries.length === 0 ? label : `${label} { ${entries.join(", ")} }`;
      }
    }
    if (value === null) return "null";
    if (seen.includes(value)) return "[Circular]";
    if (depth > DEPTH_MAX) return Array.isArray(value) ? "[Array]" : "[Object]";
    const within = [...seen, value];
    if (typeof value.inspect === "function" && !(value.inspect === inspect)) return String(value.inspect(DEPTH_MAX - depth));
    if (Array.isArray(value)) return array(value, depth, within);
    if (value instanceof Error) {
      const label = `[${String(value)}]`;
      const entries = properties(value, depth, within);
      return entries.length === 0 ? label : block(`{ ${label}`, entries, "}", depth);
    }
    if (value instanceof Map) {
      const entries = [...value].map(
        ([k, v]) => `${inspect(k, depth + 1, within)} => ${inspect(v, depth + 1, within)}`,
      );
      return block(`Map (${value.size}) {`, entries, "}", depth);
    }
    if (value instanceof Set) {
      return block(`Set (${value.size}) {`, [...value].map((v) => inspect(v, depth + 1, within)), "}", depth);
    }
    if (value instanceof WeakMap) return "WeakMap { ? }";
    if (value instanceof WeakSet) return "WeakSet { ? }";
    if (value instanceof Date || value instanceof RegExp) return String(value);
    const boxed = tag(value);
    if (boxed === "[object Number]" || boxed === "[object Boolean]" || boxed === "[object BigInt]") {
      return `Object(${inspect(value.valueOf(), depth, within)})`;
    }
    if (boxed === "[object String]") return `Object(${quoted(String(value))})`;
    return object(value, depth, within);
  };

  const shown = (values) =>
    values
      .map((value) => {
        try {
          return inspect(value);
        } catch (error) {
          return `[could not be shown: ${String(error)}]`;
        }
      })
      .join(" ");

  const timers = new Map();
  const seconds = () => Number(globalThis.performance?.now?.() ?? 0);
  const timed = (label, rest, ends) => {
    const began = timers.get(label);
    if (began === undefined) return tell("WARN", `Timer '${label}' does not exist`);
    if (ends) timers.delete(label);
    const more = rest.length === 0 ? "" : " " + shown(rest);
    tell("INFO", `${label}: ${Math.round(seconds() - began)}ms${more}`);
  };

  const console = {
    debug: (...values) => void tell("DEBUG", shown(values)),
    error: (...values) => void tell("ERROR", shown(values)),
    info: (...values) => void tell("INFO", shown(values)),
    log: (...values) => void tell("LOG", shown(values)),
    warn: (...values) => void tell("WARN", shown(values)),
    trace: (...values) => {
      const stack = String(new Error().stack ?? "").split("\n").slice(1).join("\n").trimEnd();
      tell("LOG", [shown(values), stack].filter(Boolean).join(" "));
    },
    time: (label = "default") => {
      const key = String(label);
      if (timers.has(key)) return void tell("WARN", `Timer '${key}' already exists`);
      timers.set(key, seconds());
    },
    timeLog: (label = "default", ...rest) => void timed(String(label), rest, false),
    timeEnd: (label = "default") => void timed(String(label), [], true),
  };
  Object.defineProperty(globalThis, "console", {
    value: console, writable: true, configurable: true, enumerable: false,
  });
})();
