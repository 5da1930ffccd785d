/** Many runs in few calls: chunks of items, some of them under way at once, each made as a whole or not at all. */

import type { MessageShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";

import type { Calls } from "./calls.js";
import * as convert from "./convert.js";
import { jobError, JobError, RefusedError } from "./errors.js";
import { given, wholeInLimits } from "./fields.js";
import { EnqueueRequestSchema, JobService } from "./gen/layeron/job/v1/job_service_pb.js";
import { newRunId } from "./ids.js";
import type { BatchResult } from "./models.js";
import type { BatchItem, BatchOptions } from "./options.js";

/** Items of a batch, from any iterable; they are read as they are sent. */
export type Items<Item> = Iterable<Item> | AsyncIterable<Item>;

const BATCH_SIZE_MAX = 1_000;
const BYTES_MAX = 3_500 * 1024; // the server takes 4 MiB
const FRAME_BYTES = 5; // what each item adds to its own size, at most
const PLACE = /\bitems\[(\d+)\]/g;

type EnqueueRequest = MessageShape<typeof EnqueueRequestSchema>;

/** What goes into one call. */
interface Chunk {
  readonly first: number;
  readonly items: EnqueueRequest[];
  /** The run ids chosen here, undefined for those of the caller. */
  readonly chosenIds: (string | undefined)[];
  bytes: number;
}

/** One result per item, in order. An error says what was made: see Job.enqueueBatch. */
export async function enqueueBatch(
  calls: Calls,
  namespace: string,
  items: Items<BatchItem>,
  options: BatchOptions,
): Promise<BatchResult[]> {
  const batchSize = wholeInLimits("batchSize", options.batchSize ?? 500, 1, BATCH_SIZE_MAX);
  const concurrency = wholeInLimits("concurrency", options.concurrency ?? 2, 1, 1_000);
  const batch = new Batch(calls, namespace, totalOf(items), options);
  try {
    for await (const chunk of chunks(items, batchSize)) {
      await batch.send(chunk, concurrency);
    }
    return await batch.results();
  } catch (error) {
    throw await batch.told(error);
  }
}

/** The chunks of one batch: those under way, and the results of those that were made. */
class Batch {
  readonly #calls: Calls;
  readonly #namespace: string;
  readonly #total: number | undefined;
  readonly #options: BatchOptions;
  readonly #sending = new Set<Promise<void>>();
  readonly #made = new Map<number, BatchResult[]>(); // by the place of the chunk's first item
  #done = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(calls: Calls, namespace: string, total: number | undefined, options: BatchOptions) {
    this.#calls = calls;
    this.#namespace = namespace;
    this.#total = total;
    this.#options = options;
  }

  /** Begin to send a chunk, and wait until there is room for the next one. Throws the error of one that failed. */
  async send(chunk: Chunk, concurrency: number): Promise<void> {
    const sending = this.#send(chunk)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#sending.delete(sending));
    this.#sending.add(sending);
    if (this.#sending.size >= concurrency) {
      await Promise.race(this.#sending);
    }
    this.#throwIfFailed();
  }

  /** All results in order, once all chunks are made. Throws the error of one that failed. */
  async results(): Promise<BatchResult[]> {
    await Promise.all(this.#sending);
    this.#throwIfFailed();
    return [...this.#made].sort(([a], [b]) => a - b).flatMap(([, results]) => results);
  }

  /** The error, which says what was made, once nothing is under way any more. */
  async told(error: unknown): Promise<unknown> {
    await Promise.all(this.#sending);
    if (error instanceof JobError) {
      const made = [...this.#made].flatMap(([first, results]) => results.map((one, at) => [first + at, one] as const));
      error.enqueued = new Map(made);
    }
    return error;
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) {
      throw this.#failure.error;
    }
  }

  async #send({ first, items, chosenIds }: Chunk): Promise<void> {
    const { signal, onProgress } = this.#options;
    const request = { namespace: this.#namespace, items };
    const answer = await this.#calls
      .unary(JobService.method.enqueueBatch, request, signal, { waitForRoom: true })
      .catch((error: unknown) => {
        throw inTheWhole(error, first);
      });
    const results = answer.results.map((one, at) => ({
      runId: one.runId,
      status: convert.STATUSES.word(one.status),
      // A run of an id that was chosen here was made by this call, if in an earlier try.
      created: one.created || one.runId === chosenIds[at],
      pruned: one.pruned,
    }));
    this.#made.set(first, results);
    this.#done += results.length;
    onProgress?.(this.#done, this.#total);
  }
}

/** The items in chunks of at most batchSize and 3.5 MB, made when they are asked for. */
async function* chunks(items: Items<BatchItem>, batchSize: number): AsyncGenerator<Chunk, void, undefined> {
  let chunk: Chunk = { first: 0, items: [], chosenIds: [], bytes: 0 };
  let place = 0;
  for await (const item of items) {
    const [request, chosenId] = requestOf(item, place);
    const bytes = toBinary(EnqueueRequestSchema, request).length + FRAME_BYTES;
    if (chunk.items.length === batchSize || (chunk.items.length > 0 && chunk.bytes + bytes > BYTES_MAX)) {
      yield chunk;
      chunk = { first: place, items: [], chosenIds: [], bytes: 0 };
    }
    chunk.items.push(request);
    chunk.chosenIds.push(chosenId);
    chunk.bytes += bytes;
    place += 1;
  }
  if (chunk.items.length > 0) {
    yield chunk;
  }
}

/** The request of an item, and its run id if it was chosen here. */
function requestOf(item: BatchItem, place: number): [EnqueueRequest, string | undefined] {
  try {
    const { task, payload, runId, ...options } = item;
    const chosenId = runId === undefined ? newRunId() : undefined;
    const id = chosenId ?? given("runId", runId) ?? "";
    return [create(EnqueueRequestSchema, convert.enqueueRequest(task, payload, id, options)), chosenId];
  } catch (error) {
    throw error instanceof RefusedError ? error.within(`items[${place}].`) : error;
  }
}

/** The error with places in the whole batch, where the server knows those of one chunk. */
function inTheWhole(error: unknown, first: number): unknown {
  if (!(error instanceof JobError) || first === 0) {
    return error;
  }
  const shifted = (text: string) => text.replaceAll(PLACE, (_, place: string) => `items[${first + Number(place)}]`);
  const { code, reason, metadata, retryAfterSeconds, cause } = error;
  const violations = error.violations.map(({ field, description }) => ({
    field: shifted(field),
    description: shifted(description),
  }));
  const fields = { code, reason, metadata, violations, retryAfterSeconds: retryAfterSeconds ?? undefined, cause };
  return jobError(shifted(error.message), fields);
}

function totalOf(items: Items<BatchItem>): number | undefined {
  if (Array.isArray(items)) {
    return items.length;
  }
  return items instanceof Set || items instanceof Map ? items.size : undefined;
}
