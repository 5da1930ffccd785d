"""What cannot be sent is refused before anything is, with the field or the setting named."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from layeron_job_worker.testing import run_task
from layeron_job_worker.webhooks import Webhooks
from support.webhooks import SECRET


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ({}, "url must be a text"),
        ({"url": "https://h/"}, "either body, or type and data"),
        ({"url": "https://h/", "type": "a"}, "either body, or type and data"),
        ({"url": "https://h/", "data": 1}, "either body, or type and data"),
        ({"url": "https://h/", "body": 1, "type": "a", "data": 1}, "not both"),
        ({"url": "https://h/", "type": "", "data": 1}, "type must not be empty"),
        ({"url": "https://h/", "type": 7, "data": 1}, "type must be a text of at most 255"),
        ({"url": "https://h/", "type": "t" * 256, "data": 1}, "type must be a text of at most 255"),
        ({"url": "https://h/", "body": 1, "endpoint": 3}, "endpoint must be a text of at most 255"),
        ({"url": "https://h/", "body": 1, "secret": "whsec_x"}, "unknown field 'secret'"),
        ({"url": 3, "body": 1}, "url must be a text"),
        ({"url": "https://h/" + "x" * 2_048, "body": 1}, "at most 2048"),
        ({"url": "h/path", "body": 1}, "url must begin with https://"),
        ({"url": "//h/", "body": 1}, "url must begin with https://"),
        ({"url": "ftp://h/", "body": 1}, "url must begin with https://"),
        ({"url": "file:///etc/passwd", "body": 1}, "url must begin with https://"),
        ({"url": "https:///x", "body": 1}, "must name a host"),
        ({"url": "https://a b/", "body": 1}, "must name a host"),
        ({"url": "https://ex%61mple.com/", "body": 1}, "must name a host"),
        ({"url": "https://a..b/", "body": 1}, "must name a host"),
        ({"url": f"https://{'a' * 64}.com/", "body": 1}, "must name a host"),
        ({"url": "https://[fe80::1%25eth0]/", "body": 1}, "must name a host"),
        ({"url": "https://h\n/", "body": 1}, "url is not a URL"),
        ({"url": "https://[::1/", "body": 1}, "url is not a URL"),
        ({"url": "https://h:99999/", "body": 1}, "port of 1 to 65535"),
        ({"url": "https://h:0/", "body": 1}, "port of 1 to 65535"),
        ({"url": "https://user:pw@h/", "body": 1}, "no user name"),
        ({"url": "https://user@h/", "body": 1}, "no user name"),
        ({"url": "https://127.0.0.1\\@h/", "body": 1}, "no backslash"),
        ({"url": "https://h/", "body": 1, "headers": ["a"]}, "headers must be an object"),
        ({"url": "https://h/", "body": 1, "headers": {str(n): "" for n in range(33)}}, "at most 32"),
        ({"url": "https://h/", "body": 1, "headers": {"a b": ""}}, "a name that no header can have"),
        ({"url": "https://h/", "body": 1, "headers": {"": ""}}, "a name that no header can have"),
        ({"url": "https://h/", "body": 1, "headers": {"a\r\nb": ""}}, "a name that no header can have"),
        ({"url": "https://h/", "body": 1, "headers": {"a": 1}}, "a value of a"),
        ({"url": "https://h/", "body": 1, "headers": {"a": "x\r\nHost: evil"}}, "a value of a"),
        ({"url": "https://h/", "body": 1, "headers": {"a": "ü"}}, "a value of a"),
        ({"url": "https://h/", "body": 1, "headers": {"a": "x" * 4_097}}, "a value of a"),
        *(
            ({"url": "https://h/", "body": 1, "headers": {name: "x"}}, f"must not set {name.lower()}")
            for name in ("Host", "Content-Length", "transfer-encoding", "Webhook-Id", "webhook-signature", "Expect")
        ),
    ],
)
async def test_a_payload_that_cannot_be_sent_is_dead_lettered_with_its_field_named(
    webhooks: Webhooks, payload: Any, said: str
) -> None:
    outcome = await run_task(webhooks, "deliver-webhook", payload)
    assert (outcome.kind, outcome.error_type, outcome.do_not_retry) == ("failed", "PayloadInvalid", True)
    assert said in outcome.error_message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 0}, "timeout must be more than 0 and at most 300 s"),
        ({"timeout": timedelta(minutes=6)}, "timeout must be more than 0 and at most 300 s"),
        ({"timeout": float("nan")}, "timeout must be more than 0 and at most 300 s"),
        ({"allow_networks": ["10.0.0.1/8"]}, "allow_networks must hold networks"),
        ({"allow_networks": ["localhost"]}, "allow_networks must hold networks"),
        ({"allow_networks": "10.0.0.0/8"}, "allow_networks must be a list"),
    ],
)
def test_a_bad_setting_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Webhooks(SECRET, **options)


def test_it_shows_its_settings_and_no_secret() -> None:
    shown = repr(Webhooks(SECRET, timeout=3, allow_networks=["10.0.0.0/8", "::1/128"]))
    assert shown == "Webhooks(secret=…, timeout=3, allow_networks=['10.0.0.0/8', '::1/128'])"
