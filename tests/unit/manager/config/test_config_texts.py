"""What a file of a config may be made of: encodings, control characters, numbers and words in YAML, JSON and TOML."""

from pathlib import Path

import pytest

from config_files import SOUND, changed
from manager.config import ConfigError, load_config

TOML = """
[exchanges.paper]
type = "paper"
market = {type = "synthetic"}
[[traders]]
id = "one"
exchange = "paper"
executor = {type = "baseline", style = "trend"}
symbols = ["BTC/USDT:USDT"]
decision_interval = "1m"
"""
JSON = """{"exchanges": {"paper": {"type": "paper", "market": {"type": "synthetic"}}},
"traders": [{"id": "one", "exchange": "paper", "executor": {"type": "baseline", "style": "trend"},
"symbols": ["BTC/USDT:USDT"], "decision_interval": "1m"}]}"""
FORMS = {".yaml": SOUND, ".json": JSON, ".toml": TOML}
NUMBERS = {
    "'1e5'": "remove the quotes",
    "$10000": "write 10000",
    "'10,000'": "without commas or blanks between its digits",
    "10,000": "is the rest of a number with a comma",
    "9" * 5000: "expected an amount above 0 USD",
    "0x" + "f" * 5000: "expected an amount above 0 USD",
    "1e400": "expected an amount above 0 USD",
    ".nan": "expected a finite number, such as 10000",
    "-.inf": "expected a finite number",
    "-0": "expected an amount above 0 USD",
}
NAMES = {
    "\\0": "U+0000",
    "\\e[31m": "U+001B",
    "\\u202e": "U+202E",
    "a\\nb": "U+000A",
    "\\u2028": "U+2028",
    "\\uFEFF": "U+FEFF",
}


def _refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    return str(caught.value)


def _written(folder: Path, given: str | bytes, suffix: str = ".yaml") -> Path:
    path = folder / f"config{suffix}"
    path.write_bytes(given if isinstance(given, bytes) else given.encode())
    return path


@pytest.mark.parametrize("suffix", FORMS)
def test_texts_of_windows_and_old_machines_are_read(tmp_path: Path, suffix: str) -> None:
    text = FORMS[suffix]
    for given in (text, text.replace("\n", "\r\n"), text.replace("\n", "\r"), "\ufeff" + text):
        assert load_config(_written(tmp_path, given, suffix), {}).tenants


@pytest.mark.parametrize("suffix", FORMS)
def test_what_is_no_utf8_is_told_with_its_kind(tmp_path: Path, suffix: str) -> None:
    text = FORMS[suffix]
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        said = _refused(_written(tmp_path, text.encode(encoding), suffix))
        assert said.endswith("is UTF-16 text; save it as UTF-8") or "NUL character" in said
    assert ":1: holds a NUL character here; remove it" in _refused(_written(tmp_path, "# a\0" + text, suffix))
    latin = _refused(_written(tmp_path, "\n# é\n".encode("latin-1") + text.encode(), suffix))
    assert latin.endswith(":2: is not UTF-8 text (byte 3); save it as UTF-8")


@pytest.mark.parametrize(("suffix", "form"), [(".yaml", "YAML"), (".json", "JSON"), (".toml", "TOML")])
def test_a_file_that_is_cut_off_is_called_by_its_form(tmp_path: Path, suffix: str, form: str) -> None:
    text = FORMS[suffix]
    assert f"is not valid {form} (" in _refused(_written(tmp_path, text[: text.rindex('"')], suffix))


@pytest.mark.parametrize(("given", "mend"), NUMBERS.items(), ids=[name[:12] for name in NUMBERS])
def test_a_number_in_another_form_says_how_to_write_it(tmp_path: Path, given: str, mend: str) -> None:
    text = "manager: {total_equity_usd: " + given + "}\n" + SOUND[SOUND.index("exchanges") :]
    assert mend in _refused(_written(tmp_path, text))


def test_a_number_of_toml_may_be_too_long(tmp_path: Path) -> None:
    said = _refused(_written(tmp_path, f"[manager]\ntotal_equity_usd = {'9' * 5000}\n{TOML}", ".toml"))
    assert said.endswith("value has 5000 digits); no field takes a number so long")


@pytest.mark.parametrize(("given", "sign"), NAMES.items())
def test_a_name_steers_no_terminal_and_can_be_stored(tmp_path: Path, given: str, sign: str) -> None:
    said = _refused(_written(tmp_path, changed("- id: one", f'- id: one\n    name: "x{given}"')))
    assert f"holds the control character {sign}; remove it" in said


def test_a_description_may_have_lines_and_names_their_joiners(tmp_path: Path) -> None:
    text = changed("- id: one", '- id: one\n    name: "a\\u200db"\n    description: "two\\nlines\\tand a tab"')
    [one, _] = next(iter(load_config(_written(tmp_path, text), {}).tenants.values())).traders
    assert one.name == "a\u200db"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<<: 5\n" + SOUND, "<< takes a mapping, such as *anchor, or a list of them"),
        ("---\n", "is empty; write at least"),
        (SOUND + "---\n" + SOUND, "keep one document and remove its ---"),
        (SOUND.replace("  paper:", "\tpaper:"), "a tab cannot indent; write blanks"),
        ("a: " + "[" * 3000, "it is nested too deeply"),
        (changed("id: one", "id: null"), "this is read as nothing; write it in quotes"),
    ],
)
def test_what_yaml_makes_of_a_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    assert words in _refused(_written(tmp_path, text))
