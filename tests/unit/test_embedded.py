"""The embedded servers: real, private, restartable, and gone when we are."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import nats
import pytest

from layeron_job_server.embedded import EmbeddedError, Nats, Postgres, default_data, folder, wipe
from support import eventually, open_folder

FAST = {"fsync": "off"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has a service user")


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that the service user may enter."""
    with open_folder() as path:
        yield path


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def modes(*roots: Path) -> dict[Path, int]:
    """The modes of the folders, of everything in them, and of everything above them."""
    paths = {above for root in roots for above in root.parents} | {path for root in roots for path in root.rglob("*")}
    return {path: stat.S_IMODE(path.lstat().st_mode) for path in {*roots, *paths}}


async def test_postgres_serves_on_loopback_alone_with_a_password_that_only_its_owner_reads(place: Path) -> None:
    async with await Postgres.start(place / "data", settings=FAST) as postgres:
        assert str(await ask(postgres.url, "show server_version")).startswith("18.")
        assert await ask(postgres.url, "show listen_addresses") == "127.0.0.1"
        assert await ask(postgres.url, "show unix_socket_directories") == ""
        assert await ask(postgres.url, "select pg_encoding_to_char(encoding) from pg_database limit 1") == "UTF8"
        assert stat.S_IMODE((place / "data" / "postgres-password").stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(f"postgresql://layeron:guess@127.0.0.1:{postgres.port}/postgres", "select 1")


async def test_nats_serves_jetstream_on_loopback_alone(place: Path) -> None:
    async with await Nats.start(place / "data") as server:
        client = await nats.connect(server.url)
        assert (await client.jetstream().account_info()).streams == 0
        await client.close()
        listening = Path("/proc/net/tcp")
        if listening.exists():
            at_port = [line.split()[1] for line in listening.read_text().splitlines() if f":{server.port:04X} " in line]
            assert at_port
            assert all(address.startswith("0100007F:") for address in at_port)


async def test_data_outlives_a_stop_and_a_start(place: Path) -> None:
    async with await Postgres.start(place / "data") as postgres, await Nats.start(place / "data") as server:
        await ask(postgres.url, "create table kept as select 42 as answer")
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="kept", subjects=["kept"])
        await client.jetstream().publish("kept", b"42")
        await client.close()
    async with await Postgres.start(place / "data") as postgres, await Nats.start(place / "data") as server:
        assert await ask(postgres.url, "select answer from kept") == 42
        client = await nats.connect(server.url)
        assert (await client.jetstream().stream_info("kept")).state.messages == 1
        await client.close()


async def test_killed_servers_restart_on_the_same_port_with_their_data(place: Path) -> None:
    async with (
        await Postgres.start(place / "data", settings=FAST) as postgres,
        await Nats.start(place / "data") as server,
    ):
        urls = (postgres.url, server.url)
        await ask(postgres.url, "create table kept as select 42 as answer")
        for each in (postgres, server):
            await each.kill()
            await each.restart()
        assert (postgres.url, server.url) == urls
        assert await ask(postgres.url, "select answer from kept") == 42
        await (await nats.connect(server.url)).close()


async def test_a_second_start_on_the_same_data_is_refused_and_names_the_process(place: Path) -> None:
    async with (
        await Postgres.start(place / "data", settings=FAST) as postgres,
        await Nats.start(place / "data") as server,
    ):
        with pytest.raises(EmbeddedError, match=f"postgres already runs on .*: process {postgres.pid}, started by"):
            await Postgres.start(place / "data", settings=FAST)
        with pytest.raises(EmbeddedError, match=f"nats already runs on .*: process {server.pid}, started by"):
            await Nats.start(place / "data")
        assert await ask(postgres.url, "select 1") == 1


async def test_a_stale_pid_file_that_names_a_living_process_does_not_hinder_the_start(place: Path) -> None:
    await (await Postgres.start(place / "data", settings=FAST)).stop()
    (place / "data" / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n{place}/data/postgres\n")
    async with await Postgres.start(place / "data", settings=FAST) as postgres:
        assert await ask(postgres.url, "select 1") == 1


async def test_a_cluster_left_half_made_is_made_again(place: Path) -> None:
    await (await Nats.start(place / "data")).stop()
    (place / "data" / "postgres.new").mkdir()
    (place / "data" / "postgres.new" / "PG_VERSION").write_text("18\n")
    async with await Postgres.start(place / "data", settings=FAST) as postgres:
        assert await ask(postgres.url, "select 1") == 1


async def test_a_start_that_fails_says_why_and_leaves_the_data_free(place: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(EmbeddedError, match="address already in use"):
            await Nats.start(place / "data", port=taken)
        with pytest.raises(EmbeddedError, match="Address already in use"):
            await Postgres.start(place / "data", port=taken, settings=FAST)
    async with await Postgres.start(place / "data", settings=FAST) as postgres:
        with pytest.raises(EmbeddedError, match="nonsense_setting"):
            await Postgres.start(place / "other", settings={**FAST, "nonsense_setting": "1"})
        assert await ask(postgres.url, "select 1") == 1
    await (await Nats.start(place / "data")).stop()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a child of its parent's death")
async def test_servers_end_when_the_process_that_started_them_is_killed(place: Path) -> None:
    script = f"""
import asyncio, pathlib
from layeron_job_server.embedded import Nats, Postgres
async def main():
    data = pathlib.Path({str(place / "data")!r})
    servers = [await Postgres.start(data, settings={FAST!r}), await Nats.start(data)]
    print(*(server.pid for server in servers), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pids = [int(word) for word in (await asyncio.to_thread(starter.stdout.readline)).split()]
        assert len(pids) == 2
        starter.kill()
    # A new start waits for those that are on their way out, so nobody has to.
    async with await Postgres.start(place / "data", settings=FAST) as postgres, await Nats.start(place / "data"):
        assert await ask(postgres.url, "select 1") == 1
        await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


async def test_an_interrupt_of_the_terminal_reaches_us_alone(place: Path) -> None:
    async with await Nats.start(place / "data") as server:
        assert os.getsid(server.pid) != os.getsid(0)


async def test_no_existing_folder_or_file_changes_its_mode(place: Path) -> None:
    (place / "neighbour").mkdir(mode=0o700)
    (place / "mine").mkdir()
    (place / "mine").chmod(0o755)
    wheel = folder.postgres_programs(place, None).parents[1]
    before = modes(place, wheel)
    async with (
        await Postgres.start(place / "deep" / "er" / "data", settings=FAST),
        await Nats.start(place / "deep" / "er" / "data"),
        await Nats.start(place / "mine"),
    ):
        assert {path: mode for path, mode in modes(place, wheel).items() if path in before} == before
        assert os.geteuid() != 0 or (place / "deep" / "er" / "data" / "postgres").owner() == "layeron-job"
        assert stat.S_IMODE((place / "deep" / "er" / "data" / "postgres").stat().st_mode) == 0o700


@as_root
async def test_root_is_refused_a_folder_below_a_closed_one_with_the_reason(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    for start in (Postgres.start, Nats.start):
        with pytest.raises(EmbeddedError, match=r"the system user layeron-job may not enter .*/closed \(mode 0700\)"):
            await start(place / "closed" / "data")
        with pytest.raises(EmbeddedError, match=r"may not enter .*/closed \(mode 0700\)"):
            await start(place / "closed")
    assert modes(place / "closed") == {**modes(place), place / "closed": 0o700}
    assert list((place / "closed").iterdir()) == []


@as_root
async def test_programs_that_the_service_user_cannot_reach_are_run_from_a_copy(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = folder.postgres_programs(place, None).parents[1]
    (place / "closed").mkdir(mode=0o700)
    shutil.copytree(package, place / "closed" / package.name)
    shutil.copytree(f"{package}.libs", place / "closed" / f"{package.name}.libs")
    monkeypatch.syspath_prepend(place / "closed")
    async with await Postgres.start(place / "data", settings=FAST) as postgres:
        assert place / "data" / "programs" in Path(f"/proc/{postgres.pid}/exe").readlink().parents
        assert await ask(postgres.url, "select 1") == 1
    assert stat.S_IMODE((place / "closed").stat().st_mode) == 0o700


async def test_wipe_removes_what_was_made_here_and_nothing_else(place: Path) -> None:
    wipe(place / "never made")
    (place / "thesis").mkdir()
    (place / "thesis").chmod(0o755)
    (place / "thesis" / "chapter1").write_text("…")
    with pytest.raises(EmbeddedError, match="was not made by layeron-job"):
        wipe(place / "thesis")
    with pytest.raises(EmbeddedError, match="is not empty and was not made by layeron-job"):
        await Nats.start(place / "thesis")
    assert (place / "thesis" / "chapter1").exists()

    async with await Nats.start(place / "data") as server:
        with pytest.raises(EmbeddedError, match=f"nats already runs on .*: process {server.pid}"):
            wipe(place / "data")
        await (await nats.connect(server.url)).close()
    wipe(place / "data")
    assert [path.name for path in place.iterdir()] == ["thesis"]


def test_the_default_folder_is_the_users_own_or_for_root_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data() == Path("/var/lib/layeron-job")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert default_data() == Path("/xdg/layeron-job")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_data() == Path.home() / ".local" / "share" / "layeron-job"


async def test_postgres_is_stopped_in_order_even_while_clients_are_connected(place: Path) -> None:
    async with await Postgres.start(place / "data", settings=FAST) as postgres:
        idle = await asyncpg.connect(postgres.url)
    assert "database system is shut down" in (place / "data" / "postgres.log").read_text()
    idle.terminate()
