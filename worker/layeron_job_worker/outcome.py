"""How an attempt ended: what a handler returned or raised, in the terms and within the limits of the contract."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any, Literal

from layeron_job_worker.errors import DoNotRetry, RetryAfter
from layeron_job_worker.json_text import encode
from layeron_job_worker.limits import ERROR_DETAIL_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX, error_type, head, tail

OutcomeKind = Literal["succeeded", "failed", "timed_out", "canceled", "interrupted"]


@dataclass(slots=True)
class Outcome:
    """How an attempt ended. `result_json` belongs to success (empty means null), the rest to everything else."""

    kind: OutcomeKind
    result_json: bytes = b""
    error_type: str = ""
    error_message: str = ""
    error_detail: str = ""
    do_not_retry: bool = False
    retry_after_ms: int | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes on the wire."""
        texts = len(self.error_type) + len(self.error_message) + len(self.error_detail)
        return len(self.result_json) + 4 * texts + 300


def returned(value: Any, bytes_max: int) -> Outcome:
    """The outcome of a handler that returned: a result that breaks the rules fails the attempt for good."""
    try:
        result = b"" if value is None else encode(value)
    except TypeError as error:
        message = f"the handler's result is not JSON: {error}"
    else:
        if len(result) <= bytes_max:
            return Outcome("succeeded", result)
        message = f"the handler's result has {len(result)} bytes; the limit is {bytes_max}"
    return Outcome(
        "failed",
        error_type="ResultInvalid",
        error_message=head(message, ERROR_MESSAGE_BYTES_MAX),
        do_not_retry=True,
    )


def raised(error: BaseException) -> Outcome:
    """The outcome of a handler that raised."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # the error is the handler's own, and so is what its text may raise
        message = "(its message cannot be shown)"
    outcome = Outcome(
        "failed",
        error_type=error_type(error),
        error_message=head(message, ERROR_MESSAGE_BYTES_MAX),
        error_detail=detail(error),
        do_not_retry=isinstance(error, DoNotRetry),
    )
    # A subclass that never called RetryAfter's own __init__ has no delay.
    delay_seconds = getattr(error, "delay_seconds", None) if isinstance(error, RetryAfter) else None
    if delay_seconds is not None:
        outcome.retry_after_ms = round(delay_seconds * 1000)
    return outcome


def detail(error: BaseException) -> str:
    """The traceback from the handler's own frame on; when it is too long, its end."""
    trace = error.__traceback__
    own = trace.tb_next if trace is not None else None
    try:
        text = "".join(traceback.format_exception(type(error), error, own or trace))
    except Exception:  # noqa: BLE001  # as above
        text = ""
    return tail(text, ERROR_DETAIL_BYTES_MAX)
