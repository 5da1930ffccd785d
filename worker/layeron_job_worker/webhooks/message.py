"""What a payload asks to be sent where: every field checked, the body as the very bytes that are signed and sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final

import httpx
import orjson

from layeron_job_worker.errors import DoNotRetry

_FIELDS: Final = frozenset({"url", "endpoint", "type", "data", "body", "headers"})
_URL_CHARACTERS_MAX: Final = 2048
_NAME_CHARACTERS_MAX: Final = 255
_HEADERS_MAX: Final = 32
_HEADER_CHARACTERS_MAX: Final = 4096
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
# Ours to set: who is asked, how the message is framed, what the answer may be.
_RESERVED: Final = re.compile(
    r"webhook-.*|proxy-.*|host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|"
    r"accept-encoding",
    re.IGNORECASE,
)


class PayloadInvalid(DoNotRetry):
    """The payload does not say what to send where. The message names the field."""


@dataclass(frozen=True, slots=True)
class Message:
    """A webhook to send. `headers` have lower-case names; `origin` is the part of the URL that holds no secret."""

    url: httpx.URL
    endpoint: str
    body: bytes
    headers: dict[str, str]

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.url.scheme}://{self.url.netloc.decode()}"


def read(payload: Any, created_at: datetime) -> Message:
    """The webhook that a payload asks for. Raises PayloadInvalid."""
    if not isinstance(payload, dict):
        raise PayloadInvalid("the payload must be an object with url and either body or type and data")
    if unknown := sorted(payload.keys() - _FIELDS):
        raise PayloadInvalid(
            f"the payload has an unknown field {unknown[0]!r}; it may have {', '.join(sorted(_FIELDS))}"
        )
    return Message(
        url=_url(payload.get("url")),
        endpoint=_name("endpoint", payload.get("endpoint", "")),
        body=_body(payload, created_at),
        headers=_headers(payload.get("headers", {})),
    )


def _url(given: Any) -> httpx.URL:
    if not isinstance(given, str) or not 1 <= len(given) <= _URL_CHARACTERS_MAX:
        raise PayloadInvalid(f"url must be a text of at most {_URL_CHARACTERS_MAX} characters")
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL as error:
        raise PayloadInvalid(f"url is not a URL: {error}") from None
    if url.scheme not in ("http", "https"):
        raise PayloadInvalid("url must begin with https://")
    # Parsers disagree about a backslash, and so may whoever checked the URL before us.
    if "\\" in given or url.userinfo:
        raise PayloadInvalid("url must have no user name, no password and no backslash")
    if not _is_host(url.raw_host.decode()):
        raise PayloadInvalid("url must name a host, or an IP address in its usual form")
    if url.port is not None and not 1 <= url.port <= 65_535:
        raise PayloadInvalid("url must have a port of 1 to 65535")
    return url


def _is_host(host: str) -> bool:
    """A name or an address, but no number that some resolvers take for one: 2130706433, 0x7f.1, 127.1, 010.0.0.1."""
    try:
        ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return _NAME.fullmatch(host) is not None and _NUMBER.fullmatch(labels[-1]) is None
    return "%" not in host


def _name(field: str, given: Any) -> str:
    if not isinstance(given, str) or len(given) > _NAME_CHARACTERS_MAX:
        raise PayloadInvalid(f"{field} must be a text of at most {_NAME_CHARACTERS_MAX} characters")
    return given


def _body(payload: dict[str, Any], created_at: datetime) -> bytes:
    """The same bytes in every attempt: the event's time is when the run was enqueued."""
    if "body" in payload:
        if "type" in payload or "data" in payload:
            raise PayloadInvalid("the payload must have either body, or type and data, not both")
        return orjson.dumps(payload["body"])
    if "type" not in payload or "data" not in payload:
        raise PayloadInvalid("the payload must have either body, or type and data")
    event = _name("type", payload["type"])
    if not event:
        raise PayloadInvalid("type must not be empty")
    return orjson.dumps({"type": event, "timestamp": created_at, "data": payload["data"]}, option=orjson.OPT_UTC_Z)


def _headers(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > _HEADERS_MAX:
        raise PayloadInvalid(f"headers must be an object of at most {_HEADERS_MAX} texts")
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise PayloadInvalid("headers has a name that no header can have")
        if _RESERVED.fullmatch(name):
            raise PayloadInvalid(f"headers must not set {name.lower()}: the worker does")
        if not isinstance(value, str) or len(value) > _HEADER_CHARACTERS_MAX or not _HEADER_VALUE.fullmatch(value):
            raise PayloadInvalid(
                f"headers has a value of {name.lower()} that is no text of at most {_HEADER_CHARACTERS_MAX} visible "
                "ASCII characters"
            )
        headers[name.lower()] = value.strip()
    return headers
