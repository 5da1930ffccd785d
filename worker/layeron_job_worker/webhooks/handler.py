"""The handler: signs, sends once, and says by its outcome whether to try again.

It speaks httpcore, the layer below httpx's client, on purpose: that client follows the environment's proxies, keeps
the cookies of all receivers in one jar that only grows, and logs whole URLs, which may hold a token.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, Final

import httpcore

from layeron_job.durations import Seconds, seconds
from layeron_job_worker.context import Context
from layeron_job_worker.errors import DoNotRetry, RetryAfter
from layeron_job_worker.limits import head
from layeron_job_worker.webhooks.guard import Guard, Resolver, parse_networks, system_resolver
from layeron_job_worker.webhooks.message import Message, read
from layeron_job_worker.webhooks.secrets import SecretSource, Signer

_TIMEOUT_SECONDS_MAX: Final = 300.0
_BODY_BYTES_MAX: Final = 64 * 1024
_SNIPPET_BYTES_MAX: Final = 1024
_RETRY_AFTER_SECONDS_MAX: Final = 86_400.0
_IDLE_CONNECTIONS_MAX: Final = 100
# Shorter than what common servers grant, so that we seldom send on a connection they are just closing.
_IDLE_SECONDS: Final = 4.0
_RETRIED: Final = frozenset({408, 425, 429})
_SECONDS: Final = re.compile("[0-9]+")


class NoAnswer(Exception):
    """The receiver did not answer in time. Tried again."""


class ConnectionFailed(Exception):
    """The connection could not be made, or broke before the answer was complete. Tried again."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: str
    text: str


class Webhooks:
    """Delivers the webhook that a run's payload describes; to be registered as the handler of a task.

    The payload is an object with

    url       where to POST to: https, or http where that is allowed
    type      the event's type, such as "invoice.paid", and
    data      any JSON: they are sent as {"type": …, "timestamp": when the run was enqueued, "data": …}; or else
    body      any JSON, to be sent just as it is
    headers   further headers, at most 32; they may replace content-type and user-agent. Whoever may see the run
              sees them
    endpoint  whose secrets sign it, if there are several

    Headers webhook-id (the run's id, the same in every attempt: receivers drop repeats by it), webhook-timestamp and
    webhook-signature are those of Standard Webhooks.

    2xx succeeds, with {"status", "body" (its first 1 KiB as text), "duration_ms"} as the result. 408, 425, 429, 5xx,
    time-outs and broken connections are failures to be tried again, after the receiver's Retry-After (at most a day)
    if it sent one. Anything else dead-letters the run: no redirect is followed. An attempt's error type is such as
    HttpStatus503, NoAnswer, ConnectionFailed, AddressRefused or PayloadInvalid.

    secret          "whsec_…"; a list of several during a rotation; a dict of those by endpoint; or a function, async
                    or not, from endpoint ("" if none is named) to them
    timeout         for connecting and the whole answer together, at most 5 minutes
    allow_networks  networks that are not public but may be sent to, with and without TLS, such as ["10.0.0.0/8"].
                    Every other address must be public; it is judged as it is dialed
    allow_http      also send to public addresses without TLS
    ssl_context     for receivers with a private certificate authority; None: the system's and certifi's
    resolver        from host and port to IP addresses; None: the operating system's

    Raises ValueError for a value out of its limits, which it names.
    """

    def __init__(
        self,
        secret: SecretSource,
        *,
        timeout: Seconds = 15,
        allow_networks: Sequence[str] = (),
        allow_http: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._signer = Signer(secret)
        self._timeout_seconds = seconds(timeout)
        if not 0 < self._timeout_seconds <= _TIMEOUT_SECONDS_MAX:
            raise ValueError(f"timeout must be more than 0 and at most {_TIMEOUT_SECONDS_MAX:g} s, not {timeout}")
        self._networks = parse_networks(allow_networks)
        context = ssl_context or httpcore.default_ssl_context()
        self._pools = {
            scheme: httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=None,  # as many as the worker has slots
                max_keepalive_connections=_IDLE_CONNECTIONS_MAX,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=Guard(self._networks, resolver or system_resolver, public=public),
            )
            for scheme, public in (("https", True), ("http", allow_http))
        }

    def __repr__(self) -> str:
        networks = [str(network) for network in self._networks]
        return f"Webhooks(secret=…, timeout={self._timeout_seconds:g}, allow_networks={networks})"

    async def aclose(self) -> None:
        """Close the idle connections. The object can be used again."""
        for pool in self._pools.values():
            await pool.aclose()

    async def __call__(self, payload: Any, ctx: Context) -> dict[str, Any]:
        """Deliver one webhook. Raises what makes the run be tried again or not."""
        message = read(payload, ctx.created_at)
        now = datetime.now(UTC).replace(microsecond=0)
        headers = {
            "host": message.url.netloc.decode(),
            "user-agent": _user_agent(),
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
            **message.headers,
            "webhook-id": ctx.run_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": await self._signer.sign(message.endpoint, ctx.run_id, now, message.body),
        }
        began = time.monotonic()
        answer = await self._send(message, headers)
        duration_ms = round((time.monotonic() - began) * 1000)
        if 200 <= answer.status < 300:
            return {"status": answer.status, "body": answer.text, "duration_ms": duration_ms}
        raise _failure(message.origin, answer, duration_ms)

    async def _send(self, message: Message, headers: dict[str, str]) -> _Answer:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._post(message, headers)
        except (TimeoutError, httpcore.TimeoutException):
            raise NoAnswer(f"{message.origin} did not answer within {self._timeout_seconds:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise ConnectionFailed(f"the connection to {message.origin} failed: {_reason(error)}") from None

    async def _post(self, message: Message, headers: dict[str, str]) -> _Answer:
        url = message.url
        async with self._pools[url.scheme].stream(
            "POST",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            content=message.body,
            extensions={"timeout": {"connect": self._timeout_seconds}},
        ) as response:
            received = bytearray()
            async for part in response.aiter_stream():
                received += part
                if len(received) >= _BODY_BYTES_MAX:
                    break
        waits = [value.decode("ascii", "replace") for name, value in response.headers if name.lower() == b"retry-after"]
        text = head(received.decode("utf-8", "replace"), _SNIPPET_BYTES_MAX)
        return _Answer(response.status, waits[0].strip() if waits else "", text)


def _failure(origin: str, answer: _Answer, duration_ms: int) -> Exception:
    """The error of an answer that is no success; what the receiver said is its note."""
    status = answer.status
    message = f"{origin} answered {status} after {duration_ms} ms"
    wait = _retry_after_seconds(answer.retry_after, datetime.now(UTC))
    error: Exception
    if status not in _RETRIED and status < 500:
        if 300 <= status < 400:
            message += "; redirects are not followed, because they may lead anywhere: send to the final URL"
        error = _type_of(status, DoNotRetry)(message)
    elif wait is None:
        error = _type_of(status, Exception)(message)
    else:
        error = _type_of(status, RetryAfter)(wait, f"{message} and asked to wait {wait:g} s")
    error.add_note(f"The answer's body: {answer.text or '(empty)'}")
    return error


@functools.cache
def _type_of(status: int, base: type[Exception]) -> type[Exception]:
    """A class for each status, because its name is what retry policies and people know an error by."""
    return type(f"HttpStatus{status}", (base,), {"__module__": __name__})


def _retry_after_seconds(value: str, now: datetime) -> float | None:
    """The wait a receiver asked for, in seconds or until an HTTP date; None if it is none, or over already."""
    if _SECONDS.fullmatch(value):
        wait = float(value)
    else:
        try:
            until = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        wait = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
    return min(wait, _RETRY_AFTER_SECONDS_MAX) if wait > 0 else None


def _reason(error: BaseException) -> str:
    """What the operating system or the other side said. httpcore raises it `from None`, so it is in the context."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@functools.cache
def _user_agent() -> str:
    return f"layeron-job-worker/{version('layeron-job-worker')}"
