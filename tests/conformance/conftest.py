"""`--languages python,go` or `--languages all`: whose columns are played; and the table of what came of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from conformance.cases import load
from conformance.languages import LANGUAGES
from conformance.table import Results, columns_of

from layeron_job_server.app import App
from layeron_job_server.settings import Settings

_RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    text = f"languages of the conformance table, joined with commas, of {', '.join(LANGUAGES)}; or all"
    parser.addoption("--languages", default="python", help=text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "language" in metafunc.fixturenames:
        metafunc.parametrize("language", asked_for(metafunc.config))


def asked_for(config: pytest.Config) -> list[str]:
    """The languages of this run. UsageError for one that there is not."""
    given: str = config.getoption("--languages", default="python")
    names = list(LANGUAGES) if given == "all" else given.split(",")
    for name in names:
        if name not in LANGUAGES:
            raise pytest.UsageError(f"--languages: there is no {name!r}, only {', '.join(LANGUAGES)}")
    return names


@pytest.fixture(scope="session")
def languages(pytestconfig: pytest.Config) -> list[str]:
    """The languages of this run."""
    return asked_for(pytestconfig)


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    """What came of the cells of this run, all missing at first; shown at its end."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    played = [str(test.callspec.params["language"]) for test in tests if "language" in test.callspec.params]
    results = Results([column for name in played for column in columns_of(name)], load())
    request.config.stash[_RESULTS] = results
    return results


@pytest.fixture
async def address(database_url: str, nats_url: str, stream_prefix: str) -> AsyncIterator[str]:
    """A server. Times are short where a case would wait for them, and long where a slow machine might miss them."""
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "nats_url": nats_url,
            "nats_prefix": stream_prefix,
            "grpc_address": "127.0.0.1:0",
            "lease_ms": 4_000,
            "heartbeat_interval_ms": 500,
            "reconcile_interval_ms": 250,
            "sweep_interval_ms": 250,
            "cancel_grace_ms": 4_000,
            "drain_seconds": 3,
            "namespaces_max": 10_000,
        }
    )
    async with App(settings) as app:
        yield app.address


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash.get(_RESULTS, None)
    if results is not None:
        terminalreporter.section("conformance")
        for line in results.lines():
            terminalreporter.line(line)
