"""`layeron-job tasks …`."""

from __future__ import annotations

from typing import Annotated

import typer

from layeron_job import Client, Task

from .options import Address, Json, Namespace, call
from .output import print_json, print_tasks

app = typer.Typer(help="Look at tasks, pause and resume them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The task's name.", metavar="TASK")]


@app.command("list")
def list_(address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """List the registered tasks."""

    async def work(jobs: Client) -> list[Task]:
        return [task async for task in jobs.tasks.list()]

    _print(call(address, namespace, work), as_json)


@app.command("pause")
def pause(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    address: Address = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Let nothing more of a task start; what runs goes on."""

    async def work(jobs: Client) -> Task:
        return await jobs.tasks.pause(name, reason=reason)

    _print([call(address, namespace, work)], as_json)


@app.command("resume")
def resume(name: Name, address: Address = None, namespace: Namespace = "default", as_json: Json = False) -> None:
    """Let a task's runs start again."""

    async def work(jobs: Client) -> Task:
        return await jobs.tasks.resume(name)

    _print([call(address, namespace, work)], as_json)


def _print(tasks: list[Task], as_json: bool) -> None:
    if not as_json:
        print_tasks(tasks)
        return
    for task in tasks:
        print_json(task)
