"""Webhooks on the wire: one POST an attempt, signed as Standard Webhooks has them, and no secret ever shown."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from subprocess import run
from sys import executable
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from layeron_job_worker import Retry, Worker
from layeron_job_worker.testing import TaskOutcome, run_task
from layeron_job_worker.webhooks import Webhooks
from support import eventually
from support.receiver import Receiver, open_receiver, reply
from support.webhooks import LOOPBACK, SECRET, deliver, secret


async def signed_with(source: Any, receiver: Receiver, **options: Any) -> TaskOutcome:
    """Deliver with secrets of another source."""
    async with aclosing(Webhooks(source, allow_networks=LOOPBACK, timeout=5)) as webhooks:
        return await deliver(webhooks, receiver.url, **options)


async def test_a_webhook_is_posted_with_a_signature_that_the_standards_own_library_verifies(
    webhooks: Webhooks, receiver: Receiver
) -> None:
    body = {"ü": ["😀", 1.5, None, True, {"b": 1, "a": 2}], "empty": {}}
    outcome = await deliver(webhooks, f"{receiver.url}/hook?x=1&y=%20", body=body)
    assert outcome.kind == "succeeded", outcome.error_detail
    [request] = receiver.requests
    assert (request.method, request.target) == ("POST", "/hook?x=1&y=%20")
    assert Webhook(SECRET).verify(request.body, request.headers) == body
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["user-agent"].startswith("layeron-job-worker/")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body + b" ", request.headers)


async def test_the_id_and_the_bytes_are_the_same_in_every_attempt_and_the_timestamp_is_the_attempts(
    webhooks: Webhooks, receiver: Receiver
) -> None:
    before = int(datetime.now(UTC).timestamp())
    for attempt in (1, 2):
        await run_task(
            webhooks, "deliver-webhook", {"url": receiver.url, "body": [1]}, attempt=attempt, run_id="run_same"
        )
    after = int(datetime.now(UTC).timestamp())
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "run_same"
    assert first.body == second.body
    for request in (first, second):
        assert before <= int(request.headers["webhook-timestamp"]) <= after


async def test_type_and_data_become_an_event_as_the_standard_has_it(webhooks: Webhooks, receiver: Receiver) -> None:
    before = datetime.now(UTC)
    payload = {"url": receiver.url, "type": "invoice.paid", "data": {"id": "inv_1"}}
    outcome = await run_task(webhooks, "deliver-webhook", payload)
    assert outcome.kind == "succeeded", outcome.error_detail
    event = Webhook(SECRET).verify(receiver.requests[0].body, receiver.requests[0].headers)
    assert list(event) == ["type", "timestamp", "data"]
    assert (event["type"], event["data"]) == ("invoice.paid", {"id": "inv_1"})
    assert before - timedelta(seconds=1) < datetime.fromisoformat(event["timestamp"]) <= datetime.now(UTC)
    assert event["timestamp"].endswith("Z")


async def test_the_events_time_is_the_runs_and_not_the_attempts(webhooks: Webhooks, receiver: Receiver) -> None:
    class Context:
        run_id = "run_1"
        created_at = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)

    await webhooks({"url": receiver.url, "type": "t", "data": None}, Context())  # type: ignore[arg-type]  # all it reads
    assert orjson.loads(receiver.requests[0].body)["timestamp"] == "2026-01-02T03:04:05.678901Z"


async def test_extra_headers_are_sent_and_may_replace_content_type_and_user_agent(
    webhooks: Webhooks, receiver: Receiver
) -> None:
    headers = {"X-Tenant": "a b", "Content-Type": "application/cloudevents+json", "User-Agent": "shop/1", "Empty": ""}
    outcome = await deliver(webhooks, receiver.url, headers=headers)
    assert outcome.kind == "succeeded", outcome.error_detail
    sent = receiver.requests[0].headers
    assert (sent["x-tenant"], sent["content-type"]) == ("a b", "application/cloudevents+json")
    assert (sent["user-agent"], sent["empty"]) == ("shop/1", "")


async def test_one_connection_serves_many_webhooks_and_aclose_closes_it(webhooks: Webhooks, receiver: Receiver) -> None:
    for _ in range(5):
        assert (await deliver(webhooks, receiver.url)).kind == "succeeded"
    assert (len(receiver.requests), receiver.connections) == (5, 1)
    await webhooks.aclose()
    await eventually(lambda: receiver.open_connections == 0)


async def test_what_a_receiver_sets_as_a_cookie_is_never_sent_back(webhooks: Webhooks, receiver: Receiver) -> None:
    receiver.answer = reply(200, headers={"set-cookie": "spy=1; Path=/"})
    for _ in range(2):
        assert (await deliver(webhooks, receiver.url)).kind == "succeeded"
    assert "cookie" not in receiver.requests[1].headers


async def test_proxies_of_the_environment_are_ignored(
    receiver: Receiver, webhooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_receiver() as proxy:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, proxy.url)
        assert (await signed_with(SECRET, receiver)).kind == "succeeded"
        assert (len(receiver.requests), proxy.connections) == (1, 0)


def test_it_registers_as_the_handler_of_a_task() -> None:
    worker = Worker("nowhere:1")
    webhooks = Webhooks(SECRET)
    worker.task("deliver-webhook", retry=Retry(attempts=8, backoff=[10, 30, 120, 300, 900]))(webhooks)
    registered = worker.handlers["deliver-webhook"]
    assert (registered.is_async, registered.takes_context) == (True, True)


# Secrets.


async def test_during_a_rotation_the_signatures_of_all_secrets_are_sent(receiver: Receiver) -> None:
    new, old = secret(b"n"), secret(b"o")
    assert (await signed_with([new, old], receiver)).kind == "succeeded"
    [request] = receiver.requests
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    for either in (new, old):
        Webhook(either).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(b"x")).verify(request.body, request.headers)


async def test_each_endpoint_has_its_own_secret(receiver: Receiver) -> None:
    by_name = {"a": secret(b"a"), "b": [secret(b"b"), secret(b"B")]}

    async def looked_up(endpoint: str) -> str | Sequence[str]:
        await asyncio.sleep(0)
        return by_name[endpoint]

    for source in (by_name, by_name.__getitem__, looked_up):
        assert (await signed_with(source, receiver, endpoint="b")).kind == "succeeded"
        request = receiver.requests.pop()
        Webhook(secret(b"B")).verify(request.body, request.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret(b"a")).verify(request.body, request.headers)


async def test_an_endpoint_without_a_secret_is_tried_again_because_its_operator_may_add_one(receiver: Receiver) -> None:
    for options in ({"endpoint": "unknown"}, {}):
        outcome = await signed_with({"known": SECRET}, receiver, **options)
        assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "SecretMissing", False)
        assert "known" not in outcome.error_message.replace("unknown", "")
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "whsec_",
        "whsec_not*base64" * 4,
        f"whsec_{base64.b64encode(b'x' * 23).decode()}",
        f"whsec_{base64.b64encode(b'x' * 65).decode()}",
        f"whsec_{base64.b64encode(b'x' * 32).decode()}\n",
        [],
        [SECRET] * 5,
        {"a": "short"},
    ],
)
def test_a_bad_secret_is_refused_at_once_and_not_shown(bad: Any) -> None:
    with pytest.raises(ValueError, match="secret") as refused:
        Webhooks(bad)
    text = str(refused.value)
    assert "eHh4" not in text
    assert "not*base64" not in text


async def test_a_bad_secret_of_a_function_fails_the_attempt_and_is_not_shown(receiver: Receiver) -> None:
    outcome = await signed_with(lambda endpoint: "whsec_c2hvcnQ=", receiver)
    assert (outcome.kind, outcome.error_type) == ("failed", "ValueError")
    assert "c2hvcnQ" not in outcome.error_message


@pytest.mark.parametrize("size", [24, 32, 64])
async def test_secrets_are_as_the_standard_has_them_with_or_without_prefix_and_padding(
    receiver: Receiver, size: int
) -> None:
    bare = base64.b64encode(b"k" * size).decode()
    for written in (f"whsec_{bare}", bare, bare.rstrip("=")):
        assert (await signed_with(written, receiver)).kind == "succeeded"
        request = receiver.requests.pop()
        Webhook(f"whsec_{bare}").verify(request.body, request.headers)


async def test_no_secret_payload_or_url_is_logged_or_shown(
    webhooks: Webhooks, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    key = SECRET.removeprefix("whsec_")
    private = ["token-in-url", "private-body", "private-header", key]
    texts = [repr(webhooks), str(webhooks)]
    with caplog.at_level(0):
        for answer in (reply(200), reply(500), reply(302)):
            receiver.answer = answer
            outcome = await deliver(
                webhooks,
                f"{receiver.url}/token-in-url?token-in-url",
                body="private-body",
                headers={"authorization": "private-header"},
            )
            texts += [outcome.error_message, outcome.error_detail, *outcome.log_lines]
        unreachable = await deliver(webhooks, "http://127.0.0.1:1/token-in-url", body="private-body")
        texts += [unreachable.error_message, unreachable.error_detail]
    assert len(receiver.requests) == 3
    assert any("httpcore" in record.name for record in caplog.records)
    texts.append(caplog.text)
    assert [word for word in private for text in texts if word in text] == []


def test_a_plain_worker_imports_nothing_of_it() -> None:
    code = (
        "import sys, layeron_job_worker, layeron_job_worker.testing; "
        "print(sorted({'httpx', 'httpcore', 'standardwebhooks', 'anyio'} & sys.modules.keys()))"
    )
    assert run([executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
