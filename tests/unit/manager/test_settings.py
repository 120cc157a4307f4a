"""What the environment sets: each variable documented, a bad one refused by name, and no secret shown."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from config_files import write_config
from manager.cli.app import app
from manager.cli.options import CONFIG_DEFAULT, DATA_DEFAULT
from manager.errors import SettingsRefused
from manager.settings import DATA_DIR_DEFAULT, LogForm, LogLevel, Settings, describe_settings, read_settings
from source_files import ROOT

NAMES = [
    "DATABASE_URL",
    "PROPDESK_DATA_DIR",
    "PROPDESK_CONFIG",
    "PROPDESK_PORT",
    "PROPDESK_LOG",
    "PROPDESK_LOG_LEVEL",
    "PROPDESK_SECRET_KEY",
]
BAD = [
    ("PROPDESK_PORT", "99999", "PROPDESK_PORT is '99999'; set it to a port from 0 to 65535, or unset it for 8000"),
    ("PROPDESK_PORT", "web", "PROPDESK_PORT is 'web'; set it to a port from 0 to 65535, or unset it for 8000"),
    ("PROPDESK_LOG", "xml", "PROPDESK_LOG is 'xml'; set it to json, console or plain, or unset it"),
    (
        "PROPDESK_LOG_LEVEL",
        "FOO",
        "PROPDESK_LOG_LEVEL is 'FOO'; set it to debug, info, warning, error or critical, or unset it for info",
    ),
]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_nothing_set_is_a_desk_in_the_current_directory() -> None:
    settings = read_settings()
    assert (settings.data_dir, settings.config, settings.port) == (DATA_DEFAULT, CONFIG_DEFAULT, 8000)
    assert (settings.log_form, settings.log_level, settings.secrets()) == (None, "info", ())
    assert (settings.place().url, settings.place().data_dir) == ("", DATA_DIR_DEFAULT)


def test_every_variable_is_read_and_an_empty_one_is_as_if_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["postgresql://u:pass%20word@h/d", "/srv/desk", "desk.yaml", "0", "JSON", " Warning ", "a secret"]
    for name, value in zip(NAMES, given, strict=True):
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert (settings.data_dir, settings.config, settings.port) == (Path("/srv/desk"), Path("desk.yaml"), 0)
    assert (settings.log_form, settings.log_level) == ("json", "warning")
    assert settings.secrets() == ("a secret", "pass%20word", "pass word")
    assert settings.place().url == given[0]
    for secret in ("pass", "a secret"):
        assert secret not in f"{settings!r} {settings} {settings.model_dump()} {settings.place()}"
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert read_settings() == Settings.model_construct()


def test_names_of_another_case_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name.lower(), "99999")
    for field in Settings.model_fields:
        monkeypatch.setenv(field, "99999")
    assert read_settings() == Settings.model_construct()


@pytest.mark.parametrize(("name", "given", "told"), BAD)
@pytest.mark.parametrize("command", ["run", "status"])
def test_a_bad_value_is_one_line_with_the_variable_the_value_and_the_mend(
    command: str, name: str, given: str, told: str, tmp_path: Path
) -> None:
    options = ["-c", str(write_config(tmp_path))] if command == "run" else []
    arguments = [command, *options, "--data-dir", str(tmp_path / "data")]
    result = CliRunner(env={"DATABASE_URL": "", name: given}).invoke(app, arguments)
    assert (result.exit_code, result.stderr) == (2, f"propdesk: {told}\n")
    assert not (tmp_path / "data").exists()


def test_all_mistakes_are_told_at_once_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROPDESK_SECRET_KEY", "a secret")
    for name, given, _ in BAD[1:]:
        monkeypatch.setenv(name, given)
    with pytest.raises(SettingsRefused) as caught:
        read_settings()
    assert str(caught.value).splitlines() == [told for *_, told in BAD[1:]]
    assert caught.value.__context__ is None


def test_an_option_goes_before_a_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    runner = CliRunner(env={"DATABASE_URL": "", "PROPDESK_DATA_DIR": str(tmp_path / "file")})
    assert f"{tmp_path}/file is a file" in runner.invoke(app, ["status"]).stderr
    assert f"no desk in {DATA_DEFAULT};" in runner.invoke(app, ["status", "--data-dir", str(DATA_DEFAULT)]).stderr


def test_each_variable_is_described() -> None:
    described = list(describe_settings())
    assert [one.name for one in described] == NAMES
    assert {field.validation_alias for field in Settings.model_fields.values()} == {*NAMES}
    assert all(one.type and one.description.endswith(".") for one in described)
    by_name = {one.name: one for one in described}
    assert by_name["PROPDESK_PORT"].default == "8000"
    assert [by_name[name].default for name in NAMES if "file" in by_name[name].type] == ["config.yaml"]
    assert (by_name["DATABASE_URL"].default, by_name["PROPDESK_SECRET_KEY"].default) == ("", "")
    for name, choices in (("PROPDESK_LOG", get_args(LogForm)), ("PROPDESK_LOG_LEVEL", get_args(LogLevel))):
        assert by_name[name].type.replace(" or ", ", ").split(", ") == list(choices)


def test_help_does_not_wait_for_the_library() -> None:
    program = "import sys, manager.cli.app; sys.exit('pydantic_settings' in sys.modules or 'psycopg' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, timeout=60).returncode == 0


def test_a_key_of_the_desk_is_kept_from_the_log() -> None:
    assert read_settings(secret_key=SecretStr("a secret")).secrets() == ("a secret",)
