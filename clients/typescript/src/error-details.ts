/**
 * The details of an error as google.rpc has them: ErrorInfo, BadRequest and RetryInfo, read field by field, because no
 * package has their stubs.
 */

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

import type { Violation } from "./errors.js";

/** What came with an error; empty where nothing readable did. */
export interface Details {
  reason: string;
  domain: string;
  metadata: Record<string, string>;
  violations: Violation[];
  retryAfterSeconds: number | undefined;
}

/** What the details of a google.rpc.Status say. One that cannot be read says nothing. */
export function readDetails(details: Iterable<{ type: string; value: Uint8Array }>): Details {
  const found: Details = { reason: "", domain: "", metadata: {}, violations: [], retryAfterSeconds: undefined };
  for (const { type, value } of details) {
    try {
      READERS[type]?.(value, found);
    } catch {
      // A detail that is broken must not hide the error it belongs to.
    }
  }
  return found;
}

const READERS: Readonly<Partial<Record<string, (bytes: Uint8Array, found: Details) => void>>> = {
  "google.rpc.ErrorInfo": (bytes, found) => {
    for (const [field, value] of fieldsOf(bytes)) {
      if (field === 1) found.reason = text(value);
      if (field === 2) found.domain = text(value);
      if (field === 3) {
        const entry = new Map(fieldsOf(value));
        found.metadata[text(entry.get(1))] = text(entry.get(2));
      }
    }
  },
  "google.rpc.BadRequest": (bytes, found) => {
    for (const [field, value] of fieldsOf(bytes)) {
      if (field === 1) {
        const violation = new Map(fieldsOf(value));
        found.violations.push({ field: text(violation.get(1)), description: text(violation.get(2)) });
      }
    }
  },
  "google.rpc.RetryInfo": (bytes, found) => {
    for (const [field, value] of fieldsOf(bytes)) {
      if (field === 1) {
        const duration = new Map(fieldsOf(value));
        found.retryAfterSeconds = Number(duration.get(1) ?? 0) + Number(duration.get(2) ?? 0) / 1e9;
      }
    }
  },
};

type Wire = Uint8Array | number;

/** The fields of a message, as they are on the wire: texts and messages as bytes, whole numbers as numbers. */
function* fieldsOf(bytes: Wire): Generator<[number, Wire]> {
  const reader = new BinaryReader(bytes instanceof Uint8Array ? bytes : new Uint8Array());
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (type === WireType.Varint) {
      yield [field, Number(reader.int64())];
    } else if (type === WireType.LengthDelimited) {
      yield [field, reader.bytes()];
    } else {
      reader.skip(type, field);
    }
  }
}

function text(value: Wire | undefined): string {
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : "";
}
