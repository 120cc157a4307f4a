"""What Propdesk takes from the environment, in one class; what a config names as ${NAME} is read with the config."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from manager.errors import SettingsRefused

if TYPE_CHECKING:
    from manager.state.database import DatabasePlace
    from manager.state.secrets import ServiceKey

LogForm = Literal["json", "console", "plain"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
DATA_DIR_DEFAULT: Final = Path(".propdesk")
_WORDS: Final = {*get_args(LogForm), *get_args(LogLevel)}
_ANY_CASE: Final = BeforeValidator(lambda given: word if (word := str(given).strip().lower()) in _WORDS else given)


class Settings(BaseSettings):
    """Hold every variable of the environment that Propdesk reads; an option of the command line goes before it.

    A process or a command reads them once, where it begins, and passes the value on.
    """

    model_config = SettingsConfigDict(frozen=True, case_sensitive=True, env_ignore_empty=True, extra="forbid")

    database_url: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="DATABASE_URL",
        title="a PostgreSQL URI",
        description=(
            "The database of the desk, as postgresql://user:password@host/db. Unset, an embedded PostgreSQL runs under "
            "the data directory. The password is never shown."
        ),
    )
    data_dir: Path = Field(
        default=DATA_DIR_DEFAULT,
        validation_alias="PROPDESK_DATA_DIR",
        title="a directory",
        description="Where the embedded PostgreSQL keeps its files, as --data-dir does.",
    )
    config: Path = Field(
        default=Path("config.yaml"),
        validation_alias="PROPDESK_CONFIG",
        title="a file",
        description="The config file, as --config does.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias="PROPDESK_PORT",
        title="a port from 0 to 65535",
        description="The loopback port of the web process, as --port of `propdesk run` does; 0 takes a free one.",
    )
    log_form: Annotated[LogForm | None, _ANY_CASE] = Field(
        default=None,
        validation_alias="PROPDESK_LOG",
        title="json, console or plain",
        description=(
            "The form of the log: one JSON object a line, the same as coloured text, or plain sentences of what the "
            "desk does, with the JSON in DATA_DIR/logs. Unset, it is plain on a terminal and json elsewhere."
        ),
    )
    log_level: Annotated[LogLevel, _ANY_CASE] = Field(
        default="info",
        validation_alias="PROPDESK_LOG_LEVEL",
        title="debug, info, warning, error or critical",
        description="The least important events that are logged.",
    )
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="PROPDESK_SECRET_KEY",
        title="32 random bytes, as 64 hexadecimal digits or 43 characters of base64url",
        description=(
            "The service key: under it API keys are hashed, and keys of venues and models encrypted in the database. "
            "Unset, the first start makes one in DATA_DIR/secret.key. Never shown."
        ),
    )

    def place(self) -> "DatabasePlace":
        """Return where the database is; raise DatabaseUrlRefused for a DATABASE_URL of another kind."""
        from manager.state.database import DatabasePlace

        return DatabasePlace(data_dir=self.data_dir, url=self.database_url.get_secret_value())

    def service_key(self) -> "ServiceKey":
        """Return the service key, made in the data directory at the first call; raise SecretKeyRefused."""
        from manager.state.secrets import service_key

        return service_key(self.secret_key.get_secret_value(), self.data_dir)

    def secrets(self) -> tuple[str, ...]:
        """Return what no log may hold: the secret key, and what may be the database's password, written and decoded."""
        url: str = self.database_url.get_secret_value()
        passwords: tuple[str, ...] = ()
        if url.strip():
            from manager.state.database_url import passwords_of

            passwords = passwords_of(url)
        return tuple(filter(None, (self.secret_key.get_secret_value(), *passwords)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDescription:
    """Describe one variable of the environment for people; `default` is empty where there is none."""

    name: str
    type: str
    default: str
    description: str

    def mend(self, given: str) -> str:
        """Say what to do about a value that the variable cannot have."""
        default = f" for {self.default}" if self.default else ""
        return f"{self.name} is {given!r}; set it to {self.type}, or unset it{default}"


def read_settings(**options: Any) -> Settings:
    """Return what the environment sets and checked `options` replace.

    Raises SettingsRefused, which names each bad variable, its value and the mend.
    """
    try:
        return Settings().model_copy(update=options)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
    known = {one.name: one for one in describe_settings()}
    raise SettingsRefused("\n".join(known[str(mistake["loc"][0])].mend(mistake["input"]) for mistake in found))


def describe_settings() -> Iterator[SettingDescription]:
    """Yield every variable of `Settings` in the order of its fields, as a page of documentation shows it."""
    for field in Settings.model_fields.values():
        default = field.get_default()
        yield SettingDescription(
            name=str(field.validation_alias),
            type=field.title or "",
            default="" if default is None else str(default),
            description=field.description or "",
        )
