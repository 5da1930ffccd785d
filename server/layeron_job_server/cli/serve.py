"""`layeron-job serve` and `layeron-job migrate`: against a PostgreSQL and a NATS of your own.

The server's modules are imported by the commands that run one, so that all others start quickly.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from .output import ExitCode, complain

if TYPE_CHECKING:
    from layeron_job_server.settings import Settings


def serve(
    apply_migrations: Annotated[
        bool, typer.Option("--migrate", help="Bring the database to this version first.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Server processes that share the gRPC port; their HTTP ports count up.")
    ] = 1,
) -> None:
    """Run a server. Settings are read from LAYERON_JOB_… variables; run as many servers as you like."""
    import uvloop

    from layeron_job_server import app as server
    from layeron_job_server.cli.processes import keep
    from layeron_job_server.domain.errors import DatabaseAway
    from layeron_job_server.store import migrate as migrations
    from layeron_job_server.telemetry import set_up_logs

    settings = read_settings()
    set_up_logs(settings.log_level, settings.log_format)
    try:
        if apply_migrations:
            migrations.upgrade(settings.database_url)
        elif not asyncio.run(migrations.is_current(settings.database_url)):
            complain("the database does not have this version's schema: run 'layeron-job migrate'", ExitCode.REFUSED)
    except DatabaseAway as error:
        if apply_migrations:
            complain(f"{error.__cause__}", ExitCode.UNAVAILABLE)
        # Its callers are told UNAVAILABLE until the database is there.
    many = keep(processes, settings.grpc_address, settings.http_address) if processes > 1 else None
    try:
        uvloop.run(many or server.serve(settings))
    except ValueError as error:
        complain(str(error), ExitCode.USAGE)
    except OSError as error:
        complain(str(error), ExitCode.UNAVAILABLE)


def migrate() -> None:
    """Bring the database of LAYERON_JOB_DATABASE_URL to this version's schema. Safe while servers run."""
    from layeron_job_server.domain.errors import DatabaseAway
    from layeron_job_server.store import migrate as migrations

    settings = read_settings()
    try:
        before, after = migrations.upgrade(settings.database_url)
    except DatabaseAway as error:
        complain(f"the database cannot be reached: {error.__cause__}", ExitCode.UNAVAILABLE)
    typer.echo(f"schema {after}" + (", as before" if before == after else f", was {before or 'empty'}"))


def read_settings() -> Settings:
    """The settings of the environment; ends the program with what is wrong with them."""
    from pydantic import ValidationError

    from layeron_job_server.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"LAYERON_JOB_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        complain("\n".join(wrong), ExitCode.USAGE)
