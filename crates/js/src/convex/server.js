// `convex/server`, for modules that are loaded where the npm package is absent: functions and what they
// get as `ctx`, schemas, crons, and references to functions. What the host is told is in
// spec/function-runtime.md 4, 5, 7, 8 and 11.
import {
  asObjectValidator,
  ConvexError,
  convexOrUndefinedToJson,
  convexToJson,
  jsonToConvex,
  patchToJson,
  v,
} from "convex/values";

const version = "1.48.0";

const sync = (op, args) => JSON.parse(Convex.syscall(op, JSON.stringify(args)));

const async_ = async (op, args) => {
  let text;
  try {
    text = await Convex.asyncSyscall(op, JSON.stringify(args));
  } catch (error) {
    if (error.data !== undefined) {
      const thrown = new ConvexError(error.message);
      thrown.data = jsonToConvex(error.data);
      throw thrown;
    }
    throw new Error(error.message);
  }
  return JSON.parse(text);
};

const need = (value, n, fn, name) => {
  if (value === undefined) throw new TypeError(`Must provide arg ${n} \`${name}\` to \`${fn}\``);
};

// --- references -------------------------------------------------------------------------------

const NAME = Symbol.for("functionName");

const makeApi = (path = []) =>
  new Proxy(
    {},
    {
      get(_, key) {
        if (typeof key === "string") return makeApi([...path, key]);
        if (key === NAME) {
          if (path.length < 2) {
            throw new Error(`API path is expected to be of the form \`api.moduleName.functionName\`. Found: \`${["api", ...path].join(".")}\``);
          }
          const name = path.at(-1);
          const module = path.slice(0, -1).join("/");
          return name === "default" ? module : `${module}:${name}`;
        }
        return undefined;
      },
    },
  );

export const anyApi = makeApi();
export const componentsGeneric = () => makeApi(["_reference", "childComponent"]);

const address = (reference) => {
  if (typeof reference === "string") {
    return reference.startsWith("function://") ? { functionHandle: reference } : { name: reference };
  }
  const name = reference?.[NAME];
  if (!name) throw new Error(`${String(reference)} is not a functionReference`);
  return { name };
};

export const getFunctionName = (reference) => {
  const { name } = address(reference);
  if (name === undefined) throw new Error("a function handle has no name");
  return name;
};

export const makeFunctionReference = (name) => ({ [NAME]: name });

const argsJson = (args) => convexToJson(args ?? {});

// --- database ---------------------------------------------------------------------------------

class Expression {
  constructor(json) {
    this.json = json;
  }
}
const operand = (value) =>
  value instanceof Expression ? value.json : { $literal: convexOrUndefinedToJson(value) };
const binary = (op) => (a, b) => new Expression({ [op]: [operand(a), operand(b)] });
const unary = (op) => (a) => new Expression({ [op]: operand(a) });
const many = (op) => (...all) => new Expression({ [op]: all.map(operand) });
const filterBuilder = {
  eq: binary("$eq"), neq: binary("$neq"), lt: binary("$lt"), lte: binary("$lte"), gt: binary("$gt"), gte: binary("$gte"),
  add: binary("$add"), sub: binary("$sub"), mul: binary("$mul"), div: binary("$div"), mod: binary("$mod"),
  neg: unary("$neg"), not: unary("$not"), and: many("$and"), or: many("$or"),
  field: (path) => new Expression({ $field: path }),
};

class IndexRange {
  constructor(bounds = []) {
    this.bounds = bounds;
  }
}
for (const [method, type] of [["eq", "Eq"], ["gt", "Gt"], ["gte", "Gte"], ["lt", "Lt"], ["lte", "Lte"]]) {
  IndexRange.prototype[method] = function (fieldPath, value) {
    return new IndexRange([...this.bounds, { type, fieldPath, value: convexOrUndefinedToJson(value) }]);
  };
}

class SearchFilter {
  constructor(filters = []) {
    this.filters = filters;
  }
  search(fieldPath, value) {
    return new SearchFilter([...this.filters, { type: "Search", fieldPath, value }]);
  }
  eq(fieldPath, value) {
    return new SearchFilter([...this.filters, { type: "Eq", fieldPath, value: convexOrUndefinedToJson(value) }]);
  }
}

class Query {
  #query;
  #id = null;
  #used = false;
  constructor(query) {
    this.#query = query;
  }
  #next(change) {
    if (this.#used) {
      throw new Error("A query can only be chained once and can't be chained after iteration begins.");
    }
    this.#used = true;
    return new Query({ ...this.#query, ...change });
  }
  #operator(operator) {
    const operators = [...this.#query.operators, operator];
    if (operators.length > 256) throw new Error(`Can't construct query with more than 256 operators`);
    return this.#next({ operators });
  }
  withIndex(index, range = (q) => q) {
    const indexName = `${this.#query.source.tableName}.${index}`;
    return this.#next({
      source: { type: "IndexRange", indexName, range: range(new IndexRange()).bounds, order: null },
    });
  }
  withSearchIndex(index, filter) {
    const indexName = `${this.#query.source.tableName}.${index}`;
    return this.#next({ source: { type: "Search", indexName, filters: filter(new SearchFilter()).filters } });
  }
  fullTableScan() {
    return this.#next({});
  }
  order(order) {
    if (this.#query.source.type === "Search") throw new Error("Search queries must always be in relevance order. Can not set order manually.");
    if (this.#query.source.order !== null) throw new Error("Queries may only specify order at most once");
    return this.#next({ source: { ...this.#query.source, order } });
  }
  filter(predicate) {
    need(predicate, 1, "filter", "predicate");
    return this.#operator({ filter: operand(predicate(filterBuilder)) });
  }
  limit(n) {
    return this.#operator({ limit: n });
  }
  async take(n) {
    if (!Number.isInteger(n) || n < 0) throw new TypeError("Arg 1 `n` to `take` must be a non-negative integer");
    return await this.limit(n).collect();
  }
  async first() {
    return (await this.take(1))[0] ?? null;
  }
  async unique() {
    const rows = await this.take(2);
    if (rows.length > 1) {
      const ids = rows.map((row) => row._id);
      throw new Error(`unique() query returned more than one result from table ${this.#table()}:\n [${ids.join(", ")}, ...]`);
    }
    return rows[0] ?? null;
  }
  #table() {
    const { source } = this.#query;
    return source.tableName ?? source.indexName.split(".")[0];
  }
  async collect() {
    const rows = [];
    for await (const row of this) rows.push(row);
    return rows;
  }
  async count() {
    return jsonToConvex(await async_("1.0/count", { table: this.#query.source.tableName }));
  }
  async paginate(options) {
    need(options, 1, "paginate", "options");
    if (typeof options.numItems !== "number" || options.numItems < 0) {
      throw new Error("`options.numItems` must be a positive number. Received `" + options?.numItems + "`.");
    }
    const { page, isDone, continueCursor, splitCursor, pageStatus } = await async_("1.0/queryPage", {
      query: this.#query,
      cursor: options.cursor,
      endCursor: options.endCursor ?? null,
      pageSize: options.numItems,
      maximumRowsRead: options.maximumRowsRead,
      maximumBytesRead: options.maximumBytesRead,
      version,
    });
    return { page: page.map(jsonToConvex), isDone, continueCursor, splitCursor, pageStatus };
  }
  [Symbol.asyncIterator]() {
    this.#used = true;
    return this;
  }
  async next() {
    if (this.#id === null) this.#id = sync("1.0/queryStream", { query: this.#query, version }).queryId;
    const { value, done } = await async_("1.0/queryStreamNext", { queryId: this.#id });
    if (done) sync("1.0/queryCleanup", { queryId: this.#id });
    return { value: jsonToConvex(value), done };
  }
  return() {
    if (this.#id !== null) sync("1.0/queryCleanup", { queryId: this.#id });
    return Promise.resolve({ done: true, value: undefined });
  }
}

const reader = (isSystem) => ({
  get: async (...args) => {
    const [table, id] = args.length > 1 ? args : [undefined, args[0]];
    need(id, args.length > 1 ? 2 : 1, "get", "id");
    if (typeof id !== "string") throw new Error(`Invalid argument \`id\` for \`db.get\`, expected string but got '${typeof id}': ${id}`);
    return jsonToConvex(await async_("1.0/get", { id, isSystem, version, table }));
  },
  query: (tableName) => {
    need(tableName, 1, "query", "tableName");
    const system = tableName.startsWith("_");
    if (system !== isSystem) {
      throw new Error(`${system ? "System" : "User"} tables can only be accessed from db.${isSystem ? "" : "system."}query().`);
    }
    return new Query({ source: { type: "FullTableScan", tableName, order: null }, operators: [] });
  },
  normalizeId: (table, idString) => sync("1.0/db/normalizeId", { table, idString }).id,
});

const plain = (value, fn) => {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new Error(`\`${fn}\` needs an object`);
  }
  return value;
};

const writer = () => ({
  ...reader(false),
  system: reader(true),
  insert: async (table, value) => {
    need(table, 1, "insert", "table");
    need(value, 2, "insert", "value");
    if (table.startsWith("_")) throw new Error("System tables (prefixed with `_`) are read-only.");
    return jsonToConvex(await async_("1.0/insert", { table, value: convexToJson(value) }))._id;
  },
  patch: async (...args) => {
    const [table, id, value] = args.length > 2 ? args : [undefined, ...args];
    need(id, 1, "patch", "id");
    need(value, 2, "patch", "value");
    await async_("1.0/shallowMerge", { id, value: patchToJson(plain(value, "patch")), table });
  },
  replace: async (...args) => {
    const [table, id, value] = args.length > 2 ? args : [undefined, ...args];
    need(id, 1, "replace", "id");
    need(value, 2, "replace", "value");
    await async_("1.0/replace", { id, value: convexToJson(value), table });
  },
  delete: async (...args) => {
    const [table, id] = args.length > 1 ? args : [undefined, args[0]];
    need(id, 1, "delete", "id");
    await async_("1.0/remove", { id, table });
  },
});

// --- contexts ---------------------------------------------------------------------------------

const auth = (requestId) => ({ getUserIdentity: () => async_("1.0/getUserIdentity", { requestId }) });

const runUdf = (udfType) => async (reference, args, options = {}) => {
  const result = await async_("1.0/runUdf", {
    udfType: options.useStaleSnapshot ? "snapshotQuery" : udfType,
    args: argsJson(args),
    ...address(reference),
  });
  return jsonToConvex(result);
};

const schedulerOf = (op, cancelOp, requestId) => {
  const schedule = (ts, reference, args) =>
    async_(op, { ...address(reference), ts, args: argsJson(args), version, requestId });
  return {
    runAfter: async (delayMs, reference, args) => {
      if (typeof delayMs !== "number" || !Number.isFinite(delayMs)) throw new Error("`delayMs` must be a finite number");
      if (delayMs < 0) throw new Error("`delayMs` must be non-negative");
      return await schedule((Date.now() + delayMs) / 1000, reference, args);
    },
    runAt: async (when, reference, args) => {
      const ms = when instanceof Date ? when.valueOf() : when;
      if (typeof ms !== "number") throw new Error("The invocation time must a Date or a timestamp");
      return await schedule(ms / 1000, reference, args);
    },
    cancel: async (id) => {
      need(id, 1, "cancel", "id");
      await async_(cancelOp, { id, requestId });
    },
  };
};

const storageReader = (requestId) => ({
  getUrl: (storageId) => async_("1.0/storageGetUrl", { requestId, version, storageId }),
  getMetadata: (storageId) => async_("1.0/storageGetMetadata", { requestId, version, storageId }),
});
const storageWriter = (requestId) => ({
  ...storageReader(requestId),
  generateUploadUrl: () => async_("1.0/storageGenerateUploadUrl", { requestId, version }),
  delete: (storageId) => async_("1.0/storageDelete", { requestId, version, storageId }),
});

const queryCtx = () => ({
  db: { ...reader(false), system: reader(true) },
  auth: auth(""),
  storage: storageReader(""),
  runQuery: runUdf("query"),
});
const mutationCtx = () => ({
  db: writer(),
  auth: auth(""),
  storage: storageWriter(""),
  scheduler: schedulerOf("1.0/schedule", "1.0/cancel_job", undefined),
  runQuery: runUdf("query"),
  runMutation: runUdf("mutation"),
});
const actionCtx = (requestId) => {
  const run = (op) => async (reference, args) =>
    jsonToConvex(await async_(op, { ...address(reference), args: argsJson(args), version, requestId }));
  return {
    auth: auth(requestId),
    storage: storageWriter(requestId),
    scheduler: schedulerOf("1.0/actions/schedule", "1.0/actions/cancel_job", requestId),
    runQuery: run("1.0/actions/query"),
    runMutation: run("1.0/actions/mutation"),
    runAction: run("1.0/actions/action"),
  };
};

// --- functions --------------------------------------------------------------------------------

const result = async (body) => {
  let value;
  try {
    value = await body();
  } catch (error) {
    if (error !== null && typeof error === "object" && Symbol.for("ConvexError") in error) {
      error.data = JSON.stringify(convexToJson(error.data === undefined ? null : error.data));
      error.ConvexErrorSymbol = Symbol.for("ConvexError");
    }
    throw error;
  }
  if (value instanceof Query) {
    throw new Error("Return value is a Query. Results must be retrieved with `.collect()`, `.take(n), `.unique()`, or `.first()`.");
  }
  return JSON.stringify(convexToJson(value === undefined ? null : value));
};

const define = (marker, visibility, invoke) => (given) => {
  const definition = typeof given === "function" ? { handler: given } : given;
  const { handler } = definition;
  const fn = (ctx, args) => {
    console.warn("Convex functions should not directly call other Convex functions. Consider calling a helper function instead.");
    return handler(ctx, args);
  };
  fn[marker] = true;
  fn[visibility] = true;
  fn._handler = handler;
  fn.exportArgs = () =>
    JSON.stringify(definition.args === undefined ? v.any().json : asObjectValidator(definition.args).json);
  fn.exportReturns = () =>
    JSON.stringify(definition.returns === undefined ? null : asObjectValidator(definition.returns).json);
  invoke(fn, handler);
  return fn;
};

const parsed = (args) => JSON.parse(args).map(jsonToConvex);
const invokeQuery = (fn, handler) => {
  fn.invokeQuery = (args) => result(() => handler(queryCtx(), ...parsed(args)));
};
const invokeMutation = (fn, handler) => {
  fn.invokeMutation = (args) => result(() => handler(mutationCtx(), ...parsed(args)));
};
const invokeAction = (fn, handler) => {
  fn.invokeAction = (requestId, args) => result(() => handler(actionCtx(requestId), ...parsed(args)));
};

export const queryGeneric = define("isQuery", "isPublic", invokeQuery);
export const internalQueryGeneric = define("isQuery", "isInternal", invokeQuery);
export const mutationGeneric = define("isMutation", "isPublic", invokeMutation);
export const internalMutationGeneric = define("isMutation", "isInternal", invokeMutation);
export const actionGeneric = define("isAction", "isPublic", invokeAction);
export const internalActionGeneric = define("isAction", "isInternal", invokeAction);

// --- schema, crons, pages ---------------------------------------------------------------------

class Table {
  #parts = { indexes: [], stagedDbIndexes: [], searchIndexes: [], stagedSearchIndexes: [], vectorIndexes: [], stagedVectorIndexes: [] };
  constructor(documentType) {
    this.validator = asObjectValidator(documentType);
  }
  #add(kind, staged, index) {
    this.#parts[staged ? kind[1] : kind[0]].push(index);
    return this;
  }
  index(name, given) {
    const { fields, staged } = Array.isArray(given) ? { fields: given } : given;
    return this.#add(["indexes", "stagedDbIndexes"], staged, { indexDescriptor: name, fields });
  }
  searchIndex(name, { searchField, filterFields = [], staged }) {
    return this.#add(["searchIndexes", "stagedSearchIndexes"], staged, { indexDescriptor: name, searchField, filterFields });
  }
  vectorIndex(name, { vectorField, dimensions, filterFields = [], staged }) {
    return this.#add(["vectorIndexes", "stagedVectorIndexes"], staged, { indexDescriptor: name, vectorField, dimensions, filterFields });
  }
  export() {
    return { ...this.#parts, documentType: this.validator.json };
  }
}

export const defineTable = (documentType) => new Table(documentType);

export const defineSchema = (tables, options) => ({
  tables,
  schemaValidation: options?.schemaValidation ?? true,
  export() {
    return JSON.stringify({
      tables: Object.entries(tables).map(([tableName, table]) => ({ tableName, ...table.export() })),
      schemaValidation: this.schemaValidation,
    });
  },
});

export const cronJobs = () => {
  const crons = {};
  const add = (name, schedule, reference, args) => {
    if (name in crons) throw new Error(`Cron identifier registered twice: ${name}`);
    crons[name] = { name: getFunctionName(reference), args: [argsJson(args)], schedule };
  };
  return {
    isCrons: true,
    interval: (name, every, f, args) => add(name, { ...every, type: "interval" }, f, args),
    hourly: (name, when, f, args) => add(name, { ...when, type: "hourly" }, f, args),
    daily: (name, when, f, args) => add(name, { ...when, type: "daily" }, f, args),
    weekly: (name, when, f, args) => add(name, { ...when, type: "weekly" }, f, args),
    monthly: (name, when, f, args) => add(name, { ...when, type: "monthly" }, f, args),
    cron: (name, cron, f, args) => add(name, { cron, type: "cron" }, f, args),
    export: () => JSON.stringify(crons),
  };
};

export const paginationOptsValidator = v.object({
  numItems: v.number(),
  cursor: v.union(v.string(), v.null()),
  endCursor: v.optional(v.union(v.string(), v.null())),
  id: v.optional(v.number()),
  maximumRowsRead: v.optional(v.number()),
  maximumBytesRead: v.optional(v.number()),
});
