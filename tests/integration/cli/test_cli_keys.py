"""`propdesk keys` on a database: each key is printed once, what ends it, and what is refused in one line."""

import asyncio
import json
import re
import stat
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from database_fixtures import Database
from exchanges.clock import ManualClock, SystemClock
from manager.access.keys import Caller, Issued, Keys, NewKey
from manager.bootstrap.first_key import give_first_key, tell
from manager.cli.app import app
from manager.settings import Settings, read_settings
from manager.state.errors import OtherServiceKey
from manager.state.kinds import Role, SecretKind
from manager.state.memory.store import MemoryStore
from manager.state.postgres.store import PostgresStore
from manager.state.records import DEFAULT_TENANT
from manager.state.secrets import SecretPlace, ServiceKey, Vault, key_in, service_key
from state_rows import AT

KEY = re.compile(r"pd_[a-z2-7]{12}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def place(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATABASE_URL", database.dsn)
    monkeypatch.delenv("PROPDESK_SECRET_KEY", raising=False)
    return tmp_path / "data"


@pytest.fixture
def keys(place: Path) -> Callable[..., Result]:
    def run(*arguments: str, code: int = 0, **environment: str) -> Result:
        result = CliRunner(env=environment).invoke(app, ["keys", *arguments, "--data-dir", str(place)])
        assert result.exit_code == code, result.output
        return result

    return run


def settings_of(place: Path) -> Settings:
    return read_settings(data_dir=place)


async def opened(place: Path, text: str) -> Caller | None:
    settings = settings_of(place)
    store = PostgresStore.open(settings.place().url)
    try:
        return await Keys(store, settings.service_key(), SystemClock()).check(text)
    finally:
        await store.close()


@pytest.mark.database
def test_a_key_is_alone_on_stdout_and_opens(place: Path, keys: Callable[..., Result]) -> None:
    result = keys("create", "--role", "operator", "--name", "bot", "--expires", "90d", "--reason", "new")
    made = result.stdout.strip()
    assert KEY.fullmatch(made)
    assert "It is shown only this once." in result.stderr
    assert made not in result.stderr
    caller = asyncio.run(opened(place, made))
    assert caller is not None
    assert (caller.role, caller.name, caller.tenant) == (Role.OPERATOR, "bot", DEFAULT_TENANT)


@pytest.mark.database
def test_a_life_of_a_key_as_json(keys: Callable[..., Result]) -> None:
    first = json.loads(keys("create", "--role", "viewer", "--name", "bot", "--json").stdout)
    second = json.loads(keys("rotate", first["key"]["key_id"], "--json").stdout)
    assert KEY.fullmatch(first["api_key"])
    assert first["api_key"] != second["api_key"]
    assert json.loads(keys("revoke", second["api_key"], "--json").stdout)["key"]["state"] == "revoked"
    listed = json.loads(keys("list", "--json").stdout)["keys"]
    assert [key["state"] for key in listed] == ["revoked", "revoked"]
    assert not set(listed[0]) & {"hash", "fingerprint", "api_key"}
    for shown in (keys("list").stdout, keys("list", "--json").stdout):
        assert first["api_key"][16:] not in shown


@pytest.mark.database
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "--role", "viewer", "--name", ""], "name '' is none; give 1 to 100"),
        (["create", "--role", "viewer", "--name", "a", "--expires", "soon"], "--expires 'soon': expected a duration"),
        (["create", "--role", "viewer", "--name", "a", "--expires", "9999999d"], "too long; give at most 36500d"),
        (["create", "--role", "viewer", "--name", "a", "--tenant", "acme"], "--tenant acme is no tenant of this desk"),
        (["rotate", "abcdefghijkl"], "there is no key 'abcdefghijkl'; `propdesk keys list`"),
        (["rotate", "abcdefghijkl", "--overlap", "-1"], "--overlap '-1'"),
        (["revoke", "ABC"], "KEY 'ABC' is no id of a key"),
    ],
)
def test_a_mistake_is_one_line_with_the_mend(keys: Callable[..., Result], arguments: list[str], told: str) -> None:
    [line] = keys(*arguments, code=2).stderr.splitlines()
    assert told in line


@pytest.mark.database
def test_another_service_key_is_told_with_the_mend(keys: Callable[..., Result]) -> None:
    keys("create", "--role", "viewer", "--name", "a")
    made = ["create", "--role", "viewer", "--name", "b"]
    [line] = keys(*made, code=1, PROPDESK_SECRET_KEY="ab" * 32).stderr.splitlines()
    assert "this host has" in line
    assert "as PROPDESK_SECRET_KEY or as the file secret.key of its data directory" in line
    [line] = keys(*made, code=2, PROPDESK_SECRET_KEY="no-key-at-all").stderr.splitlines()
    assert "PROPDESK_SECRET_KEY is no key (13 characters)" in line
    assert "no-key-at-all" not in line


@pytest.mark.database
def test_another_service_key_is_gone_over_to(keys: Callable[..., Result], place: Path) -> None:
    made = keys("create", "--role", "viewer", "--name", "a").stdout.strip()
    old = place / "old.key"
    [line] = keys("rewrap", "--old", str(place / "secret.key"), code=2).stderr.splitlines()
    assert "holds the key that this host has" in line
    [line] = keys("rewrap", "--old", str(old), code=2).stderr.splitlines()
    assert "cannot be read (No such file or directory); give the file of the old key" in line
    (place / "secret.key").rename(old)
    asyncio.run(sealed(place, service_key("", place / "wrong"), OtherServiceKey))
    asyncio.run(sealed(place, key_in(old)))
    said = json.loads(keys("rewrap", "--old", str(old), "--json").stdout)
    assert (said["data_keys_wrapped"], said["api_keys_void"]) == (1, 1)
    assert "0 data keys are wrapped by it" in keys("rewrap", "--old", str(old)).stdout
    assert asyncio.run(opened(place, made)) is None
    assert asyncio.run(opened(place, keys("create", "--role", "viewer", "--name", "a").stdout.strip())) is not None


async def sealed(place: Path, key: ServiceKey, refused: type[Exception] | None = None) -> None:
    store = PostgresStore.open(settings_of(place).place().url)
    secret = SecretPlace(tenant_id=DEFAULT_TENANT, kind=SecretKind.MODEL, owner="gpt", name="api_key")
    try:
        with pytest.raises(refused) if refused else nullcontext():
            await Vault(store, key, SystemClock()).seal(secret, "sk", actor="ann")
    finally:
        await store.close()


@pytest.mark.database
async def test_the_first_start_makes_one_key_in_a_private_file_and_the_next_none(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROPDESK_LOG", "plain")
    monkeypatch.setattr("manager.bootstrap.first_key._FIRST_PAUSE_S", 0.0)
    settings = settings_of(place)
    for _ in range(2):
        await give_first_key(settings, settings.service_key())
    said = capsys.readouterr()
    file = place / "first-admin.key"
    assert said.err.count("\n") == 1
    assert f"The first API key of this desk is in {file}, which only you can read" in said.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = file.read_text().strip()
    assert made not in said.err + said.out
    caller = await opened(place, made)
    assert caller is not None
    assert (caller.role, caller.tenant) == (Role.SERVICE_ADMIN, DEFAULT_TENANT)


async def made_in_memory() -> Issued:
    found = await Keys(MemoryStore(), ServiceKey(value=bytes(32)), ManualClock(AT)).first(
        NewKey(name="first admin", role=Role.SERVICE_ADMIN), actor="run", reason=""
    )
    assert found is not None
    return found


async def test_on_a_terminal_the_key_is_shown_and_no_file_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await made_in_memory()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    tell(made, settings_of(tmp_path), AT)
    said = capsys.readouterr()
    assert made.text in [line.strip() for line in said.out.splitlines()]
    assert (said.err, (tmp_path / "first-admin.key").exists()) == ("", False)


async def test_a_file_that_is_there_is_kept_and_one_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROPDESK_LOG", "plain")
    made = await made_in_memory()
    (tmp_path / "first-admin.key").write_text("of another desk")
    tell(made, settings_of(tmp_path), AT)
    assert (tmp_path / "first-admin.key").read_text() == "of another desk"
    assert (tmp_path / f"first-admin-{made.row.key_id}.key").read_text().strip() == made.text
    tell(made, settings_of(tmp_path / "first-admin.key"), AT)
    said = capsys.readouterr().err
    assert "cannot be written to" in said
    assert "`propdesk keys create --role service_admin --name TEXT` makes another" in said
    assert made.text not in said
