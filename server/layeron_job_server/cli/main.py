"""All commands in one tree. Every command that talks to a server takes --address, --namespace and --json."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from . import dev, enqueue, runs, serve, tasks


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("layeron-job-server"))
        raise typer.Exit


app = typer.Typer(
    name="layeron-job",
    help="Durable background jobs: run servers, enqueue runs, look at them, stop them, do them again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def options(
    version_: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options of all commands."""


app.command()(dev.dev)
app.command()(serve.serve)
app.command()(serve.migrate)
app.command()(enqueue.enqueue)
app.add_typer(runs.app, name="runs")
app.add_typer(tasks.app, name="tasks")


def main() -> None:
    """The entry of the console script."""
    app()
