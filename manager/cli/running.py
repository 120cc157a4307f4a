"""`propdesk run`, `worker` and `executor serve`, the processes that work until Ctrl-C; and `propdesk db`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from manager.cli import options
from manager.cli.guard import Refused
from manager.cli.printable import printable
from manager.cli.progress import progress
from manager.cli.render import print_json, say
from manager.config import Config, MarketType
from manager.config.warnings import doubts_in_a_line

PortOption = Annotated[
    int,
    typer.Option(
        "--port",
        min=0,
        max=65535,
        callback=options.setting,
        help="The loopback port of the web process; 0 takes a free one. PROPDESK_PORT sets it too.",
    ),
]
HttpPortOption = Annotated[
    int, typer.Option("--http-port", min=0, max=65535, help="The port of the HTTP API; 0 takes a free one.")
]
GrpcPortOption = Annotated[
    int, typer.Option("--grpc-port", min=0, max=65535, help="The port of the gRPC service; 0 takes a free one.")
]
HostOption = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="The address to listen on. Nothing is encrypted here: outside this machine, put a TLS proxy in front.",
    ),
]
GraceOption = Annotated[
    int | None,
    typer.Option(
        "--grace",
        min=0,
        metavar="SECONDS",
        help="How long decisions under way may take at the end; by default the longest timeout of the config.",
    ),
]

executors = typer.Typer(no_args_is_help=True, help="Decide for remote desks.")
databases = typer.Typer(no_args_is_help=True, help="Care for the database.")


def run(
    config: options.ConfigOption = options.CONFIG_DEFAULT,
    port: PortOption = 8000,
    data_dir: options.DataDirOption = options.DATA_DEFAULT,
) -> None:
    """Trade: supervise a trading worker and the web process until Ctrl-C."""
    read = _real_time(config)
    from manager.bootstrap.live import run_supervised

    raise typer.Exit(asyncio.run(run_supervised(read, options.settings_with(data_dir=data_dir, port=port))))


def worker(
    config: options.ConfigOption = options.CONFIG_DEFAULT, data_dir: options.DataDirOption = options.DATA_DEFAULT
) -> None:
    """Run jobs only; start as many as you like on one DATABASE_URL."""
    read = _real_time(config)
    from manager.bootstrap.live import run_worker

    raise typer.Exit(asyncio.run(run_worker(read, options.settings_with(data_dir=data_dir), alone=True)))


@executors.command("serve")
def serve(
    config: options.ConfigOption = options.CONFIG_DEFAULT,
    http_port: HttpPortOption = 8200,
    grpc_port: GrpcPortOption = 8201,
    host: HostOption = "127.0.0.1",
    grace: GraceOption = None,
) -> None:
    """Take the decisions of the config's traders for desks that ask with its key, until Ctrl-C; no database."""
    from executor.remote.endpoint import check_grpc

    check_grpc()
    from executor.remote.server import Listen
    from manager.processes.executor_server import longest_decision_s, serve_executors

    read = options.read_config(config)
    grace_s = longest_decision_s(read) if grace is None else grace
    listen = Listen(host=host, http_port=http_port, grpc_port=grpc_port, grace_s=grace_s)
    asyncio.run(serve_executors(read, listen, options.settings_with()))


@databases.command("upgrade")
def upgrade(data_dir: options.DataDirOption = options.DATA_DEFAULT, as_json: options.JsonOption = False) -> None:
    """Create or upgrade the tables in DATABASE_URL, or in the embedded PostgreSQL of the data directory."""
    place = options.settings_with(data_dir=data_dir).place()
    with progress("upgrading the database") as meter:
        meter(None)
        with place.reach(prepare=True):
            meter(None)
    where = "DATABASE_URL" if place.url else str(data_dir)
    if as_json:
        print_json({"ok": True, "database": where})
    else:
        say(f"The database in {where} is up to date.")


def _real_time(path: Path) -> Config:
    """Return a sound config whose traders all have prices that go on in real time."""
    config = options.read_config(path)
    for tenant in config.tenants.values():
        for trader in tenant.traders:
            if tenant.accounts[trader.account].market.type is MarketType.REPLAY:
                raise Refused(
                    f"{path}: trader {trader.id} is on account {trader.account}, whose market is a replay; "
                    "use `propdesk replay`, or give the account a market of type synthetic"
                )
    if line := doubts_in_a_line(config):
        sys.stderr.write(f"propdesk: {printable(line)}\n")
    return config
