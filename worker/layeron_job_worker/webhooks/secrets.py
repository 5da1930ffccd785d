"""The secrets that webhooks are signed with: from the worker's configuration only, checked, and never shown."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from standardwebhooks import Webhook

Secrets: TypeAlias = str | Sequence[str]
"""One secret, or several during a rotation: the receiver accepts a signature of any of them."""
SecretSource: TypeAlias = Secrets | Mapping[str, Secrets] | Callable[[str], Secrets | Awaitable[Secrets]]
"""The same secrets for everyone, or those of each endpoint by its name."""

_PREFIX: Final = "whsec_"
_KEY_BYTES_MIN, _KEY_BYTES_MAX = 24, 64
_SECRETS_MAX: Final = 4


class SecretMissing(Exception):
    """This worker has no secret for the endpoint. Tried again: its operator may add one."""


class Signer:
    """Signs with the secrets of an endpoint. Raises ValueError for a secret that is none, without showing it."""

    def __init__(self, source: SecretSource) -> None:
        self._look_up = source if callable(source) else None
        self._by_endpoint: dict[str, list[Webhook]] | None = None
        self._of_all: list[Webhook] = []
        if isinstance(source, Mapping):
            self._by_endpoint = {
                endpoint: _keys(secrets, f"secret of {endpoint!r}") for endpoint, secrets in source.items()
            }
        elif not callable(source):
            self._of_all = _keys(source)

    async def sign(self, endpoint: str, message_id: str, at: datetime, body: bytes) -> str:
        """The webhook-signature of a body sent at a time (UTC): one "v1,…" for each secret, with a space between."""
        keys = await self._keys_of(endpoint)
        text = body.decode()
        return " ".join(key.sign(message_id, at, text) for key in keys)

    async def _keys_of(self, endpoint: str) -> list[Webhook]:
        if self._look_up is not None:
            found = self._look_up(endpoint)
            return _keys(await found if inspect.isawaitable(found) else found)
        if self._by_endpoint is None:
            return self._of_all
        if endpoint not in self._by_endpoint:
            raise SecretMissing(f"this worker has no secret for the endpoint {endpoint!r}")
        return self._by_endpoint[endpoint]


def _keys(secrets: Secrets, what: str = "secret") -> list[Webhook]:
    named = [secrets] if isinstance(secrets, str) else list(secrets)
    if not 1 <= len(named) <= _SECRETS_MAX:
        raise ValueError(f"{what} must be one secret or a list of at most {_SECRETS_MAX}, not {len(named)}")
    return [Webhook(_key(secret, what)) for secret in named]


def _key(secret: str, what: str) -> bytes:
    digits = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError:
        key = b""
    if not _KEY_BYTES_MIN <= len(key) <= _KEY_BYTES_MAX:
        raise ValueError(f'{what} must be "{_PREFIX}" and {_KEY_BYTES_MIN} to {_KEY_BYTES_MAX} bytes in base64')
    return key
