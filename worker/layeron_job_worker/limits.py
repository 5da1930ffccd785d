"""The limits of what a worker sends, and how text is cut to them: whole characters, no NUL, always valid UTF-8."""

from __future__ import annotations

ERROR_TYPE_CHARACTERS_MAX = 255
ERROR_MESSAGE_BYTES_MAX = 8 * 1024
ERROR_DETAIL_BYTES_MAX = 32 * 1024
LOG_TAIL_BYTES_MAX = 32 * 1024
PROGRESS_BYTES_MAX = 4 * 1024
MESSAGE_BYTES_MAX = 1024 * 1024


def head(text: str, bytes_max: int) -> str:
    """The start of `text` that fits into `bytes_max` bytes of UTF-8."""
    raw = _utf8(text)
    return raw[:bytes_max].decode("utf-8", "ignore")


def tail(text: str, bytes_max: int) -> str:
    """The end of `text` that fits into `bytes_max` bytes of UTF-8."""
    raw = _utf8(text)
    return raw[max(0, len(raw) - bytes_max) :].decode("utf-8", "ignore")


def error_type(error: BaseException) -> str:
    """The name under which a retry policy knows an exception: its class, without the module."""
    return _utf8(type(error).__qualname__).decode()[:ERROR_TYPE_CHARACTERS_MAX]


def _utf8(text: str) -> bytes:
    return text.replace("\0", "").encode("utf-8", "replace")
