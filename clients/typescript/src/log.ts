/** Where a worker and its handlers log. */

/** What a line is about. */
export type LogFields = Readonly<Record<string, unknown>>;

/** A logger, such as one of pino or winston behind four small functions. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** Warnings and errors to stderr, one line each; the rest to nowhere. */
export const consoleLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (message, fields) => process.stderr.write(`${lineOf("WARNING", message, fields)}\n`),
  error: (message, fields) => process.stderr.write(`${lineOf("ERROR", message, fields)}\n`),
};

/** One line of a log. Nothing in it may fail who logs. */
export function lineOf(level: string, message: string, fields: LogFields | undefined): string {
  const line = `${new Date().toISOString()} ${level} ${message}`;
  if (fields === undefined) {
    return line;
  }
  try {
    return `${line} ${JSON.stringify(fields)}`;
  } catch {
    return `${line} (fields that cannot be shown)`;
  }
}
