/** Jobs for tests: on the shared server, in a namespace of their own, quiet, and closed at the end of the test. */

import type { TestContext } from "node:test";

import { job } from "../../src/index.js";
import type { AnyTasks, Catalog, Job, JobOptions, Logger } from "../../src/index.js";
import { atEnd } from "./cleaning.js";
import { ownNamespace, sharedAddress } from "./servers.js";

/** Says nothing. */
export const silent: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

/** A job that ends with the test. */
export function testJob<Tasks extends Catalog<Tasks> = AnyTasks>(t: TestContext, options: JobOptions = {}): Job<Tasks> {
  const jobs = job<Tasks>({ address: sharedAddress(), namespace: ownNamespace(), logger: silent, ...options });
  atEnd(t, () => jobs.close({ graceSeconds: 0 }));
  return jobs;
}

/** The same with a task "work" that is registered and has no worker. */
export async function callerJob(t: TestContext, options: JobOptions = {}): Promise<Job> {
  const jobs = testJob(t, options);
  await jobs.tasks.register([{ name: "work" }]);
  return jobs;
}

function nothing(): void {
  return undefined;
}
