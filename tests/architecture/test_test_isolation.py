"""What tests/conftest.py promises: nothing leaves the machine and no model key is visible."""

import asyncio
import os
import socket
import threading

import pytest


def test_a_connection_to_another_host_is_refused() -> None:
    with socket.socket() as client, pytest.raises(PermissionError, match="only loopback"):
        client.connect(("192.0.2.1", 80))


async def test_an_asyncio_connection_to_another_host_is_refused() -> None:
    with pytest.raises(PermissionError, match="only loopback"):
        await asyncio.open_connection("192.0.2.1", 80)


def test_a_datagram_to_another_host_is_refused() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as client, pytest.raises(PermissionError, match="only loopback"):
        client.sendto(b"x", ("192.0.2.1", 53))


def test_a_name_outside_this_machine_is_not_looked_up() -> None:
    with pytest.raises(PermissionError, match=r"example\.com"):
        socket.create_connection(("example.com", 443))


def test_a_loopback_connection_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        answer = threading.Thread(target=hang_up)
        answer.start()
        with socket.create_connection(server.getsockname()) as client:
            assert client.recv(1) == b""
        answer.join()


def test_no_model_key_is_visible() -> None:
    assert "OPENAI_API_KEY" not in os.environ
