"""`layeron-job dev`: a PostgreSQL, a nats-server and a server of your own, with nothing to install."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .output import ExitCode, complain
from .serve import read_settings

if TYPE_CHECKING:
    from layeron_job_server.app import App


def dev(
    data: Annotated[Path | None, typer.Option(help="Where the data lives.", show_default="your data folder")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget all data of before.")] = False,
    port: Annotated[int, typer.Option(help="The gRPC port on 127.0.0.1, and HTTP on the next; 0: free ones.")] = 7233,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Run everything on this machine, until Ctrl-C. The data stays for the next time."""
    import uvloop

    from layeron_job_server.embedded import EmbeddedError, default_data, wipe
    from layeron_job_server.telemetry import set_up_logs

    set_up_logs(log_level)
    folder = data or default_data()
    try:
        if fresh:
            wipe(folder)
        uvloop.run(_run(folder, port))
    except EmbeddedError as error:
        complain(str(error), ExitCode.REFUSED)
    except OSError as error:
        complain(f"{error}; another one may be running: choose another --port", ExitCode.UNAVAILABLE)


async def _run(data: Path, port: int) -> None:
    from layeron_job_server.app import serve
    from layeron_job_server.embedded import Nats, Postgres
    from layeron_job_server.store import migrate as migrations

    console = Console(highlight=False)
    async with AsyncExitStack() as stack:
        with console.status("starting PostgreSQL and NATS …"):
            postgres = await stack.enter_async_context(await Postgres.start(data))
            nats = await stack.enter_async_context(await Nats.start(data))
            await migrations.apply(postgres.url)
        settings = read_settings().model_copy(
            update={
                "database_url": postgres.url,
                "nats_url": nats.url,
                "nats_worker_url": nats.url,
                "grpc_address": f"127.0.0.1:{port}",
                "http_address": f"127.0.0.1:{port + 1 if port else 0}",
            }
        )

        def ready(app: App) -> None:
            console.print(f"[bold]Layeron Job is ready[/bold] at {app.address}")
            console.print(f"  look around   grpcurl -plaintext {app.address} list")
            console.print(f"  health        http://127.0.0.1:{app.http_port}/readyz  /metrics")
            console.print(f"  data          {data}  (start over with --fresh)")
            console.print(f"  PostgreSQL    127.0.0.1:{postgres.port}  NATS {nats.url}")
            console.print("  stop          Ctrl-C")

        await serve(settings, ready=ready)
