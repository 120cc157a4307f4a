"""`propdesk executor serve`."""

import asyncio
from typing import Annotated

import typer

from manager.cli.options import CONFIG_DEFAULT, ConfigOption, read_config

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

app = typer.Typer(no_args_is_help=True, help="Decide for desks elsewhere.")


@app.callback()
def group() -> None:
    """Decide for desks elsewhere."""


@app.command("serve")
def serve(
    config: ConfigOption = CONFIG_DEFAULT,
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
    from manager.settings import read_settings

    read = read_config(config)
    grace_s = longest_decision_s(read) if grace is None else grace
    listen = Listen(host=host, http_port=http_port, grpc_port=grpc_port, grace_s=grace_s)
    asyncio.run(serve_executors(read, listen, read_settings()))
