"""The way to a remote executor: no proxy, past a dead connection, and whose certificates are trusted."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from executor.baseline.executor import BaselineExecutor
from executor.baseline.styles import Style
from executor.contract import FullDecision, Outcome
from executor.errors import ExecutorConfigError, ModelUnreachable
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.registry import ExecutorParts, ModelClients, build_executor
from executor.remote import grpc_client
from executor.remote.connections import RemoteConnections
from executor.remote.endpoint import RemoteEndpoint
from executor_servers import KEY, remote_spec, serving_any

CONTEXT = sample_context()
BASELINE = BaselineExecutor(Style.TREND)
SCHEMES = pytest.mark.parametrize("scheme", ["http", "grpc"])
BEFORE, AFTER = datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=36_500)


def parts() -> ExecutorParts:
    return ExecutorParts(prompts=PromptLibrary(), clients=ModelClients(), monotonic=lambda: 0.0)


async def decided(url: str, count: int = 1, **spec: Any) -> list[FullDecision]:
    own = parts()
    executor = build_executor(remote_spec(url, **spec), own)
    decisions = [await executor.decide(CONTEXT) for _ in range(count)]
    await own.remotes.close()
    return decisions


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_the_http_port_of_a_server_is_no_door_for_grpc() -> None:
    async with serving_any(BASELINE) as serving:
        [full] = await decided(f"grpc://127.0.0.1:{port_of(serving.http or '')}")
    assert full.outcome is Outcome.UNAVAILABLE
    assert full.errors[0].message.endswith("cannot be reached (it answers, but no gRPC; is this its HTTP port?)")
    assert full.usage.unknown_usd == 0


class Cable:
    """Carry connections to a port; what is connected when it is cut stays open and goes silent."""

    def __init__(self, to: int, certificate: Path | None = None) -> None:
        self._to = to
        self._certificate = certificate
        self._cut = 0
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """Let the connections that there are go silent; new ones work."""
        self._cut += 1

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[int]:
        """Listen for as long as the block runs."""
        secure = None
        if self._certificate is not None:
            secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            secure.load_cert_chain(self._certificate)
            secure.set_alpn_protocols(["h2", "http/1.1"])
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0, ssl=secure)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.05)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, there_writer]
        born = self._cut
        await asyncio.gather(
            self._pump(reader, there_writer, born), self._pump(there_reader, writer, born), return_exceptions=True
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: int) -> None:
        while data := await reader.read(65_536):
            if born == self._cut:
                writer.write(data)
                await writer.drain()
        if born == self._cut:
            writer.close()


@SCHEMES
def test_a_connection_that_went_silent_is_left(scheme: str) -> None:
    async def run() -> list[Outcome]:
        async with serving_any(BASELINE) as serving:
            cable = Cable(port_of(getattr(serving, scheme)))
            async with cable.laid() as port:
                own = parts()
                executor = build_executor(remote_spec(f"{scheme}://127.0.0.1:{port}", timeout_s=1.0), own)
                first = await executor.decide(CONTEXT)
                cable.cut()
                rest = [await executor.decide(CONTEXT) for _ in range(3)]
                await own.remotes.close()
        return [decision.outcome for decision in (first, *rest)]

    assert asyncio.run(run()) == [Outcome.DECIDED, Outcome.TIMEOUT, Outcome.DECIDED, Outcome.DECIDED]


async def refusal(url: str) -> ModelUnreachable:
    connections = RemoteConnections()
    try:
        with pytest.raises(ModelUnreachable) as refused:
            await connections.asking(RemoteEndpoint(url=url, key=KEY)).ask(CONTEXT)
    finally:
        await connections.close()
    return refused.value


def test_a_question_that_found_no_connection_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_client, "CONNECT_TIMEOUT_S", 0.2)

    async def run() -> list[ModelUnreachable]:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            return [
                await refusal(f"grpc://{host}") for host in (f"127.0.0.1:{silent.getsockname()[1]}", "no.invalid:1")
            ]

    for error in asyncio.run(run()):
        assert "cannot be reached" in str(error)
        assert not error.ran


def test_calls_that_share_a_channel_outlive_one_that_is_cut_off() -> None:
    async def run() -> tuple[bool, bool]:
        channels = grpc_client.GrpcChannels()
        endpoint = RemoteEndpoint(url="grpc://127.0.0.1:9", key=KEY)
        async with channels.channel(endpoint) as shared:
            with pytest.raises(TimeoutError):
                async with channels.channel(endpoint):
                    raise TimeoutError
            open_still = shared.get_state() is not grpc.ChannelConnectivity.SHUTDOWN
            async with channels.channel(endpoint) as fresh:
                other = fresh is not shared
        assert shared.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        await channels.close()
        return open_still, other

    assert asyncio.run(run()) == (True, True)


@SCHEMES
def test_proxies_of_the_environment_are_not_used(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{nobody}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{nobody}")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    async def run() -> list[FullDecision]:
        async with serving_any(BASELINE) as serving:
            return await decided(getattr(serving, scheme))

    assert [decision.outcome for decision in asyncio.run(run())] == [Outcome.DECIDED]


def test_a_server_that_comes_back_is_looked_for_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = grpc.aio.insecure_channel

    def noted(address: str, options: Any = None) -> grpc.aio.Channel:
        seen.update(dict(options))
        return real(address, options=options)

    monkeypatch.setattr(grpc.aio, "insecure_channel", noted)
    assert asyncio.run(decided("grpc://127.0.0.1:9"))[0].outcome is Outcome.UNAVAILABLE
    assert seen["grpc.max_reconnect_backoff_ms"] <= 5_000


@pytest.mark.parametrize("url", ["http://executor.example.com", "grpc://10.0.0.7:8201", "https://10.0.0.7"])
def test_an_address_that_may_not_be_asked_gets_no_executor(url: str) -> None:
    with pytest.raises(ExecutorConfigError, match="executor url"):
        build_executor(remote_spec(url), parts())


def certificate(folder: Path) -> Path:
    """Write a key and a certificate of 127.0.0.1 that nobody but itself vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "executor")])
    builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
    builder = builder.serial_number(7).not_valid_before(BEFORE).not_valid_after(BEFORE + AFTER)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(pem)
    (folder / "both.pem").write_bytes(private + pem)
    return folder / "both.pem"


@SCHEMES
def test_a_private_authority_is_trusted_where_it_is_named(scheme: str, tmp_path: Path) -> None:
    both = certificate(tmp_path)

    async def run() -> list[Outcome]:
        async with (
            serving_any(BASELINE) as serving,
            Cable(port_of(getattr(serving, scheme)), both).laid() as port,
        ):
            url = f"{scheme}s://127.0.0.1:{port}"
            trusting = await decided(url, ca_file=str(tmp_path / "ca.pem"))
            return [decision.outcome for decision in (*trusting, *await decided(url))]

    assert asyncio.run(run()) == [Outcome.DECIDED, Outcome.UNAVAILABLE]


def test_a_ca_file_that_is_gone_is_an_outcome(tmp_path: Path) -> None:
    certificate(tmp_path)

    async def run(url: str) -> FullDecision:
        own = parts()
        (tmp_path / "gone.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
        executor = build_executor(remote_spec(url, ca_file=str(tmp_path / "gone.pem")), own)
        (tmp_path / "gone.pem").unlink()
        return await executor.decide(CONTEXT)

    for url in ("https://127.0.0.1:9", "grpcs://127.0.0.1:9"):
        decision = asyncio.run(run(url))
        assert decision.outcome is Outcome.UNAVAILABLE
        assert "ca_file" in decision.errors[0].message


def test_a_public_name_that_leads_inside_is_not_sent_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard: list[bytes] = []
    closed = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(10_000))
        writer.close()
        closed.set()

    async def run() -> FullDecision:
        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        async def lookup(*_: Any, **__: Any) -> Any:
            return here

        monkeypatch.setattr(loop, "getaddrinfo", lookup)
        decisions = await decided(f"https://executor.example.com:{port}")
        await asyncio.wait_for(closed.wait(), 5)
        await asyncio.sleep(0.05)
        server.close()
        return decisions[0]

    decision = asyncio.run(run())
    assert "executor.example.com resolves to the private address 127.0.0.1" in decision.errors[0].message
    assert heard == [b""]
