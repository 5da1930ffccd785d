/** The types of a job's tasks: which payload goes into a task of which name, and which result comes out of it. */

/**
 * What a catalog must look like, as an interface or a type:
 *
 * ```ts
 * interface Tasks {
 *   "send-mail": { payload: { to: string }; result: { sent: boolean } };
 *   "clean-up": { payload: null };
 * }
 * ```
 */
export type Catalog<Tasks> = {
  readonly [Name in keyof Tasks]: { readonly payload: unknown; readonly result?: unknown };
};

/** Without a catalog a task of any name takes any payload. */
export type AnyTasks = Readonly<Record<string, { readonly payload: unknown; readonly result: unknown }>>;

/** The names of a catalog's tasks. */
export type TaskName<Tasks> = keyof Tasks & string;

/** What a task's handler is given. */
export type PayloadOf<Tasks, Name extends keyof Tasks> = Tasks[Name] extends { readonly payload: infer Payload }
  ? Payload
  : never;

/** What a task's handler returns. */
export type ResultOf<Tasks, Name extends keyof Tasks> = Tasks[Name] extends { readonly result: infer Result }
  ? Result
  : unknown;

/** A payload and options as arguments; a payload that may be undefined may be left out. */
export type PayloadArguments<Payload, Options> = undefined extends Payload
  ? [payload?: Payload, options?: Options]
  : [payload: Payload, options?: Options];
