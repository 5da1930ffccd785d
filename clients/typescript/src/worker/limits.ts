/** The limits of what a worker sends, and how text is cut to them: whole characters, no NUL, always valid UTF-8. */

export const ERROR_TYPE_CHARACTERS_MAX = 255;
export const ERROR_MESSAGE_BYTES_MAX = 8 * 1024;
export const ERROR_DETAIL_BYTES_MAX = 32 * 1024;
export const LOG_TAIL_BYTES_MAX = 32 * 1024;
export const PROGRESS_BYTES_MAX = 4 * 1024;
export const MESSAGE_BYTES_MAX = 1024 * 1024;

/** The start of a text that fits into so many bytes of UTF-8. */
export function head(text: string, bytesMax: number): string {
  const clean = cleaned(text);
  if (clean.length * 3 <= bytesMax) {
    return clean;
  }
  const bytes = Buffer.from(clean, "utf8");
  let end = Math.min(bytes.length, bytesMax);
  while (end < bytes.length && isContinuation(bytes[end])) {
    end -= 1;
  }
  return bytes.toString("utf8", 0, end);
}

/** The end of a text that fits into so many bytes of UTF-8. */
export function tail(text: string, bytesMax: number): string {
  const clean = cleaned(text);
  if (clean.length * 3 <= bytesMax) {
    return clean;
  }
  const bytes = Buffer.from(clean, "utf8");
  let start = Math.max(0, bytes.length - bytesMax);
  while (start < bytes.length && isContinuation(bytes[start])) {
    start += 1;
  }
  return bytes.toString("utf8", start);
}

function cleaned(text: string): string {
  return (text.includes("\0") ? text.replaceAll("\0", "") : text).toWellFormed();
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
