"""Which variables the worker and the web are given."""

from pathlib import Path

import pytest

from manager.processes.environment import web_environment, worker_environment

GIVEN = {
    "PATH": "/bin",
    "HOME": "/home/u",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
    "PYTHONWARNINGS": "error",
    "DATABASE_URL": "postgresql://u@h/d",
    "PROPDESK_LOG": "json",
    "PROPDESK_SECRET_KEY": "sk-desk",
    "VENUE_SECRET": "sk-venue",
    "PROPDESK_PORT": "sk-named-like-ours",
    "AWS_SECRET_ACCESS_KEY": "sk-cloud",
    "https_proxy": "http://p",
    "NO_PROXY": "localhost",
    "SSL_CERT_FILE": "/ca.pem",
    "PGPASSFILE": "/pass",
}
ANY = {"PATH", "HOME", "TZ", "LANG", "PYTHONWARNINGS", "PYTHONPATH", "DATABASE_URL", "PROPDESK_LOG", "PGPASSFILE"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("exchanges: {x: {api_key: ${VENUE_SECRET}, other: '${PROPDESK_PORT}', gone: ${NOT_SET}}}\n")
    return path


def test_the_worker_has_what_the_config_names_and_the_ways_out(config: Path) -> None:
    more = {"VENUE_SECRET", "PROPDESK_PORT", "PROPDESK_SECRET_KEY", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"}
    assert set(worker_environment(config, GIVEN)) == ANY | more


def test_the_web_has_the_service_key_and_no_other_whatever_its_name(config: Path) -> None:
    found = web_environment(config, GIVEN)
    assert set(found) == ANY | {"PROPDESK_SECRET_KEY"}
    assert found.pop("PROPDESK_SECRET_KEY") == "sk-desk"
    assert "sk-" not in " ".join(found.values())


def test_the_variables_of_libpq_go_where_a_database_url_does(config: Path) -> None:
    embedded = {name: value for name, value in GIVEN.items() if name != "DATABASE_URL"}
    assert "PGPASSFILE" not in worker_environment(config, embedded)


def test_a_config_that_names_more_is_read_again(config: Path) -> None:
    assert "AWS_SECRET_ACCESS_KEY" not in worker_environment(config, GIVEN)
    config.write_text("a: ${AWS_SECRET_ACCESS_KEY}\n")
    assert worker_environment(config, GIVEN)["AWS_SECRET_ACCESS_KEY"] == "sk-cloud"
    config.unlink()
    assert "VENUE_SECRET" not in worker_environment(config, GIVEN)


def test_code_is_found_where_this_process_has_it(config: Path) -> None:
    found = web_environment(config, {"PYTHONPATH": "/more"})["PYTHONPATH"]
    assert found.endswith(":/more")
    assert (Path(found.split(":")[0]) / "manager").is_dir()
