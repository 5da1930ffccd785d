"""The receiver of the demo's webhooks: a real HTTP server that checks every signature.

/ok answers 200, /flaky 503 twice and then 200 for each webhook, /moved 410 until it is repaired.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from email.parser import BytesHeaderParser

from standardwebhooks import Webhook, WebhookVerificationError

_REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 410: "Gone", 503: "Service Unavailable"}


class Receiver:
    """`async with Receiver(secret) as receiver` listens on a free port of 127.0.0.1."""

    def __init__(self, secret: str) -> None:
        self.repaired = False
        self.received: list[tuple[str, int]] = []  # path and answer of every request
        self._webhook = Webhook(secret)
        self._tries: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def url(self, path: str) -> str:
        """Where a webhook is to be sent."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, _, rest = head.partition(b"\r\n")
                headers = dict(BytesHeaderParser().parsebytes(rest).items())
                lower = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(lower.get("content-length", "0")))
                status = self._answer(request.split()[1].decode(), lower, body)
                text = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-length: 2\r\n\r\n"
                writer.write(text.encode() + (b"ok" if status == 200 else b"no"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        status = self._status(path, headers, body)
        self.received.append((path, status))
        return status

    def _status(self, path: str, headers: dict[str, str], body: bytes) -> int:
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return 401
        match path:
            case "/ok":
                return 200
            case "/flaky":
                self._tries[headers["webhook-id"]] += 1
                return 200 if self._tries[headers["webhook-id"]] > 2 else 503
            case "/moved":
                return 200 if self.repaired else 410
        return 404
