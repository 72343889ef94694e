// `convex/values`, for modules that are loaded where the npm package is absent: values, their JSON form,
// validators, and errors with data. Source of the shapes: spec/data-model.md 2, 10.
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

const bytesToBase64 = (bytes) => {
  let binary = "";
  for (let n = 0; n < bytes.length; n += 1) binary += String.fromCharCode(bytes[n]);
  return btoa(binary);
};
const base64ToBytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

const littleEndian = (set) => {
  const view = new DataView(new ArrayBuffer(8));
  set(view);
  return bytesToBase64(new Uint8Array(view.buffer));
};
const viewOf = (text) => {
  const bytes = base64ToBytes(text);
  if (bytes.length !== 8) throw new Error(`Received ${bytes.length} bytes, expected 8`);
  return new DataView(bytes.buffer);
};

const isPlain = (value) => {
  const proto = Object.getPrototypeOf(value);
  return proto === null || proto === Object.prototype || proto?.constructor?.name === "Object";
};

const checkKey = (key) => {
  if (key.length > 1024) throw new Error(`Field name ${key} exceeds maximum field name length 1024.`);
  if (key.startsWith("$")) throw new Error(`Field name ${key} starts with a '$', which is reserved.`);
  for (let n = 0; n < key.length; n += 1) {
    const code = key.charCodeAt(n);
    if (code < 32 || code >= 127) {
      throw new Error(`Field name ${key} has invalid character '${key[n]}': Field names can only contain non-control ASCII characters`);
    }
  }
};

const at = (context) => (context === "" ? "" : ` (present at path ${context} in original object)`);

const toJson = (value, context, undefinedAs) => {
  if (value === undefined) {
    if (undefinedAs !== undefined) return undefinedAs;
    throw new Error(`undefined is not a valid Convex value${at(context)}.`);
  }
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") {
    if (value < INT64_MIN || value > INT64_MAX) {
      throw new Error(`BigInt ${value} does not fit into a 64-bit signed integer.`);
    }
    return { $integer: littleEndian((view) => view.setBigInt64(0, value, true)) };
  }
  if (typeof value === "number") {
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    return { $float: littleEndian((view) => view.setFloat64(0, value, true)) };
  }
  if (value instanceof ArrayBuffer) return { $bytes: bytesToBase64(new Uint8Array(value)) };
  if (Array.isArray(value)) {
    return value.map((item, n) => toJson(item, `${context}[${n}]`));
  }
  if (typeof value !== "object" || !isPlain(value)) {
    const what = typeof value === "object" ? (value.constructor?.name ?? "object") : typeof value;
    throw new Error(`${what} ${String(value)} is not a supported Convex type${at(context)}. To learn about Convex's supported types, see https://docs.convex.dev/using/types.`);
  }
  const json = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue;
    checkKey(key);
    json[key] = toJson(item, `${context}.${key}`);
  }
  return json;
};

export const convexToJson = (value) => toJson(value, "");

/** As `convexToJson`, where undefined has a form of its own: index bounds and filters. */
export const convexOrUndefinedToJson = (value) =>
  value === undefined ? { $undefined: null } : convexToJson(value);

/** Fields of a patch: undefined removes one. */
export const patchToJson = (fields) => {
  const json = {};
  for (const [key, item] of Object.entries(fields)) {
    checkKey(key);
    json[key] = toJson(item, `.${key}`, { $undefined: null });
  }
  return json;
};

export const jsonToConvex = (json) => {
  if (json === null || typeof json !== "object") return json;
  if (Array.isArray(json)) return json.map(jsonToConvex);
  const keys = Object.keys(json);
  if (keys.length === 1 && keys[0].startsWith("$")) {
    const [key] = keys;
    const text = json[key];
    if (key === "$bytes") return base64ToBytes(text).buffer;
    if (key === "$integer") return viewOf(text).getBigInt64(0, true);
    if (key === "$float") return viewOf(text).getFloat64(0, true);
    throw new Error(`unknown encoding ${key}`);
  }
  const value = {};
  for (const key of keys) {
    checkKey(key);
    value[key] = jsonToConvex(json[key]);
  }
  return value;
};

const CONVEX_ERROR = Symbol.for("ConvexError");

export class ConvexError extends Error {
  name = "ConvexError";
  data;
  [CONVEX_ERROR] = true;
  constructor(data) {
    super(typeof data === "string" ? data : JSON.stringify(convexToJson(data ?? null)));
    this.data = data;
  }
}

class Validator {
  constructor(kind, json, more = {}) {
    this.kind = kind;
    this.isConvexValidator = true;
    this.isOptional = "required";
    Object.assign(this, more);
    Object.defineProperty(this, "json", { value: json, enumerable: false });
  }
  asOptional() {
    const copy = Object.create(Object.getPrototypeOf(this));
    Object.assign(copy, this, { isOptional: "optional" });
    Object.defineProperty(copy, "json", { value: this.json, enumerable: false });
    return copy;
  }
  get fieldJson() {
    return { fieldType: this.json, optional: this.isOptional === "optional" };
  }
  pick(...names) {
    return v.object(Object.fromEntries(names.map((name) => [name, this.fields[name]])));
  }
  omit(...names) {
    return v.object(Object.fromEntries(Object.entries(this.fields).filter(([name]) => !names.includes(name))));
  }
  partial() {
    return v.object(Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, v.optional(field)])));
  }
  extend(fields) {
    return v.object({ ...this.fields, ...fields });
  }
}

const simple = (kind, type = kind) => () => new Validator(kind, { type });

export const v = {
  id: (tableName) => new Validator("id", { type: "id", tableName }, { tableName }),
  null: simple("null"),
  number: simple("float64", "number"),
  float64: simple("float64", "number"),
  bigint: simple("int64", "bigint"),
  int64: simple("int64", "bigint"),
  boolean: simple("boolean"),
  string: simple("string"),
  bytes: simple("bytes"),
  any: simple("any"),
  literal: (value) => new Validator("literal", { type: "literal", value: convexToJson(value) }, { value }),
  array: (element) => new Validator("array", { type: "array", value: element.json }, { element }),
  object: (fields) => {
    const value = {};
    for (const [name, field] of Object.entries(fields)) if (field !== undefined) value[name] = field.fieldJson;
    return new Validator("object", { type: "object", value }, { fields });
  },
  union: (...members) => new Validator("union", { type: "union", value: members.map((m) => m.json) }, { members }),
  record: (key, value) =>
    new Validator("record", { type: "record", keys: key.json, values: value.fieldJson }, { key, value }),
  optional: (validator) => validator.asOptional(),
  nullable: (validator) => v.union(validator, v.null()),
};

/** The validator of an object of validators, or the validator itself. */
export const asObjectValidator = (given) => (given?.isConvexValidator ? given : v.object(given));

export const isValidator = (value) => value?.isConvexValidator === true;
