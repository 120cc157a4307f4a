"""A template ends soon, makes no text of absurd length, and reads no file but prompts."""

import os
from pathlib import Path

import pytest

from executor.errors import PromptError
from executor.prompts import bounds
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.prompts.sandbox import PromptEnvironment

HEADER = "---\nversion: 1\ndescription: test\n---\n{% block user %}u{% endblock %}{% block system %}s"
BIG = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = "
LONG = "{% set ns = namespace(x='f') %}{% for i in range(18) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
SECRET = "sk-live-4f9a"


def shown(folder: Path, source: str) -> str:
    (folder / "own.md").write_text(f"{HEADER}{source}{{% endblock %}}", encoding="utf-8")
    return PromptLibrary(folder).render("own.md", sample_context()).system


def refusal(folder: Path, source: str) -> str:
    with pytest.raises(PromptError) as caught:
        shown(folder, source)
    return str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}" + "{% set a = 1 %}" * 200 + "{% endfor %}",
        "{% set r = range(99999) | list %}{% for i in r %}{{ r | sum }}{% endfor %}",
        "{% set r = range(99999) | list %}{% for i in r %}{{ -1 in r }}{% endfor %}",
        "{% set r = range(99999) | list %}{% for i in r %}{{ r == r[1:] }}{% endfor %}",
        "{% set r = range(99999) | list %}{% for i in r %}{% set q = r[1:] %}{% endfor %}",
        "{% set r = range(99999) | list %}{% for i in r %}{% if i is in r %}{% endif %}{% endfor %}",
        "{% set r = range(99999) | list %}{{ r | select('in', r) | list }}",
        "{% set r = range(99999) | list %}{% for i in r %}{{ r | map('string') | list | length }}{% endfor %}",
        "{% for i in range(99999) %}{% set x = [" + "i," * 500 + "] %}{% endfor %}",
        "{% for i in range(9999) %}{% include '_part.md' %}{% endfor %}",
        "{% include 'own.md' %}{% include 'own.md' %}",
        "{% set a = [1,1,1,1,1,1,1,1] %}" + "{% set a = [a,a,a,a,a,a,a,a] %}" * 12 + "{{ a }}",
        "{% set a = [1,1,1,1,1,1,1,1] %}" + "{% set a = [a,a,a,a,a,a,a,a] %}" * 12 + "{{ a | tojson }}",
        "{% set a = [1,1,1,1,1,1,1,1] %}" + "{% set a = [a,a,a,a,a,a,a,a] %}" * 12 + "{{ a | string }}",
        "{% set a = [1,1,1,1,1,1,1,1] %}" + "{% set a = [a,a,a,a,a,a,a,a] %}" * 12 + "{{ 'x' ~ a }}",
        "{% set a = [1,1,1,1,1,1,1,1] %}" + "{% set a = [a,a,a,a,a,a,a,a] %}" * 12 + "{{ [a] | join }}",
        "{% set a = [1,1,1,1,1,1,1,1] %}" + "{% set a = [a,a,a,a,a,a,a,a] %}" * 12 + "{{ dict(x=a) }}",
        "{% set n = namespace(a=1) %}" + "{% set n = namespace(a=n, b=n, c=n, d=n) %}" * 13 + "{{ n }}",
        "{% set n = namespace(a=1) %}"
        + "{% set n = namespace(a=n, b=n, c=n, d=n) %}" * 13
        + "{{ n | string | length }}",
        "{% set d = dict(a=1) %}"
        + "{% set d = dict(a=d.items(), b=d.items(), c=d.items()) %}" * 15
        + "{{ d.items() }}",
        "{{ range(90000) | list" + " | map('abs')" * 150 + " | list | length }}",
        LONG + "{{ ns.x | trim(ns.x ~ 'a') }}",
        LONG + "{{ ns.x.strip(ns.x ~ 'a') }}",
        "{% set c = market[symbols[0]].candles %}{% for i in range(9999) %}{% set y = c | series %}{% endfor %}",
    ],
)
def test_work_without_end_is_stopped(tmp_path: Path, source: str) -> None:
    (tmp_path / "_part.md").write_text("{% if trader_id %}a{% endif %}" * 50 + "{# end #}", encoding="utf-8")
    told = refusal(tmp_path, source)
    assert "works for more than 300,000 steps" in told or "includes itself" in told


@pytest.mark.parametrize(
    "source",
    [
        BIG + "ns.x ~ ns.x %}{% endfor %}{{ ns.x | length }}",
        BIG + "ns.x + ns.x %}{% endfor %}{{ ns.x | length }}",
        BIG + "[ns.x, ns.x] | join(ns.x) %}{% endfor %}{{ ns.x | length }}",
        "{% set a %}" + "x" * 30_000 + "{% endset %}" + "{% set a %}{{ a }}{{ a }}{{ a }}{{ a }}{% endset %}" * 9,
        "{% for i in range(90) %}" + "x" * 20_000 + "{% endfor %}",
    ],
)  # fmt: skip
def test_text_without_end_is_stopped(tmp_path: Path, source: str) -> None:
    told = refusal(tmp_path, source)
    assert "characters; a prompt may hold" in told or "longer than 1,000,000 characters" in told or "steps" in told


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ (10 ** (10 ** 8)) % 7 }}", "bits"),
        ("{% set ns = namespace(x=9) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}", "bits"),
        ("{{ 'a' * (10 ** 9) }}", "is for numbers"),
        ("{{ [1] * 999999999 }}", "is for numbers"),
        ("{{ '%1000000000d' % 1 }}", "three digits"),
        ("{{ '%.100f' % 1 }}", "three digits"),
        ("{{ '%*d' | format(1000000000, 1) }}", "three digits"),
        ("{{ '%-100s' | format(1) }}", "three digits"),
        ("{{ '%(a)100s' | format(a=1) }}", "three digits"),
        (LONG + "{{ ns.x | int(base=16) }}", "1,048,576 bits"),
        ("{{ (account.equity ** 9999) | number }}", "exponent"),
        ("{{ account.equity ** -300 / 10 ** 300 }}", "exponent"),
        ("{{ 'a' | center(10 ** 9) }}", "No filter named 'center'"),
        ("{{ 'a' | indent(999999999) }}", "No filter named 'indent'"),
        (LONG + "{{ ns.x | replace('f', 'fffff') | length }}", "a prompt may hold"),
        ("{{ symbols | random }}", "No filter named 'random'"),
        ("{{ '{:>1000000000}'.format(1) }}", "'format' may not be called"),
        ("{{ 'a'.center(10 ** 9) }}", "'center' may not be called"),
        ("{{ 'a'.zfill(10 ** 9) }}", "'zfill' may not be called"),
        ("{{ (1).to_bytes(10 ** 9) }}", "'to_bytes' may not be called"),
        ("{{ self.system() }}", "may not be called"),
        ("{{ 5 | round(-999999999) }}", "at most 30 digits"),
        ("{{ [1] | tojson(indent=999999999) }}", "expected 0 to 8"),
        ("{{ 10 ** 5000 }}", "bits"),
        ("{% macro a() %}{{ a() }}{% endmacro %}", "{% macro %} is not for prompts"),
        ("{% from '_x.md' import a %}", "{% from ... import %} is not for prompts"),
        ("{% extends '_x.md' %}", "{% extends %} is not for prompts"),
        ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "a recursive loop is not for prompts"),
        ("{% include ['_x.md', '_y.md'] %}", "include names one file"),
    ],
)
def test_what_has_no_bound_is_refused(tmp_path: Path, source: str, told: str) -> None:
    assert told in refusal(tmp_path, source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ 2 * 3 }} {{ 2 ** 10 }} {{ 7 % 4 }} {{ account.equity * 2 | int }}", "6 1024 3 2025.00"),
        ("{{ 'a' + 'b' }}{{ 'c' ~ 1 ~ none }}{{ [1] + [2] }}", "abc1None[1, 2]"),
        ("{% for s in symbols %}{{ loop.index }}/{{ loop.length }} {{ loop.last }}{% endfor %}", "1/2 False2/2 True"),
        ("{% for i in range(3) if i is odd %}{{ i }}{% else %}none{% endfor %}", "1"),
        ("{% for k, v in dict(a=1).items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{{ positions | map(attribute='symbol') | join(', ') }}", "BTC/USDT:USDT"),
        ("{{ positions | sum(attribute='margin') }} {{ [1, 2] | sum }}", "41.67 3"),
        ("{{ positions | selectattr('symbol', 'equalto', symbols[0]) | list | length }}", "1"),
        ("{{ symbols[0].split('/')[0].lower() }} {{ now.strftime('%H') }}", "btc 12"),
        ("{{ limits.max_leverage(symbols[0]) }}", "10"),
        ("{{ 2.345 | round(1) }} {{ symbols | sort | first }} {{ 1 < 2 <= 2 }}", "2.3 BTC/USDT:USDT True"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x }}{{ {'a': [1]} | tojson }}", 'a1{"a": [1]}'),
        ("{{ '%.2f' | format(account.equity) }} {{ '%05.1f %s' % (2.25, 'x') }}", "1012.50 002.2 x"),
        ("{{ symbols[0] | replace('/USDT:USDT', '') }} {{ 1.5 | replace('.', ',') }}", "BTC 1,5"),
        ("{{ account.equity * 0.02 }} {{ (market[symbols[0]].mark - 99.8) / 0.4 }} {{ 1 - limits.min_confidence }}",
         "20.2500 0.5 -74"),
        ("{{ (now - positions[0].opened_at).total_seconds() / 3600 }}", "3.0"),
        ("{% for g in positions | groupby('symbol') %}{{ g.grouper }} {{ g.list | length }}{% endfor %}",
         "BTC/USDT:USDT 1"),
        ("{% for s in symbols if s in market and market.get(s) %}{{ market | length }}{% endfor %}", "22"),
        ("{% include '_part.md' %}", "part"),
        ("{% include '_none.md' ignore missing %}", ""),
    ],
)  # fmt: skip
def test_what_templates_need_goes_on_working(tmp_path: Path, source: str, expected: str) -> None:
    (tmp_path / "_part.md").write_text("part{# end #}", encoding="utf-8")
    assert shown(tmp_path, source) == f"s{expected}".strip()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ x | upperr }}", "No filter named 'upperr'; correct the template; what it may use is listed in prompts/"),
        ("{{ nothing }}", "line 5: 'nothing' is undefined; correct the template; what it may use is listed in"),
        ("{% include 'own.md' %}", "includes itself, or is nested too deeply; correct"),
        ("{{ 'a' * 3 }}", "line 5: '*' is for numbers, not for texts and lists; correct"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_where_to_look(tmp_path: Path, source: str, told: str) -> None:
    assert told in refusal(tmp_path, source)


def test_the_shipped_prompts_use_a_small_share_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "STEPS", 100_000)
    prompts = PromptLibrary(Path(__file__).parents[4] / "prompts")
    many = sample_context(tuple(f"C{number}/USDT:USDT" for number in range(100)))
    for template in prompts.templates():
        assert prompts.render(template, many, token_budget=10**6).tokens > 100_000


def test_every_filter_and_test_that_is_kept_is_counted() -> None:
    environment = PromptEnvironment(None)  # type: ignore[arg-type]  # nothing is loaded here
    assert {"center", "indent", "random", "wordwrap", "xmlattr"} & {*environment.filters} == set()
    assert {"filter", "test", "callable"} & {*environment.tests} == set()
    assert set(environment.globals) == {"range", "dict", "namespace"}


@pytest.mark.parametrize(
    "include",
    ["/.env", "/config.yaml", "../.env", "../config.yaml", ".env", "config.yaml", "link.md", "linked/x.md", "hard.txt"],
)
def test_no_file_but_prompts_is_ever_shown(tmp_path: Path, include: str) -> None:
    folder = tmp_path / "prompts"
    (tmp_path / "else").mkdir()
    folder.mkdir()
    content = f"---\nOPENAI_API_KEY: {SECRET}\n---\n{{# end #}}\n"
    for place in (tmp_path, folder):
        for name in (".env", "config.yaml", "hard.txt"):
            (place / name).write_text(content, encoding="utf-8")
    (tmp_path / "else" / "x.md").write_text(content, encoding="utf-8")
    os.symlink(folder / ".env", folder / "link.md")
    os.symlink(tmp_path / "else", folder / "linked")
    assert "in none of the prompt folders" in refusal(folder, f"{{% include '{include}' %}}")
    with pytest.raises(PromptError) as caught:
        PromptLibrary(folder).render(include, sample_context())
    assert SECRET not in str(caught.value)


def test_the_text_of_a_header_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text(f"---\napi_key {SECRET}\n---\n", encoding="utf-8")
    with pytest.raises(PromptError, match=r"own\.md, line 2: this line of the header") as caught:
        PromptLibrary(tmp_path).check("own.md")
    assert SECRET not in str(caught.value)


def test_an_include_in_a_folder_below_may_go_up_inside(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "_part.md").write_text("up{# end #}", encoding="utf-8")
    assert "s" in shown(tmp_path / "mine", "")
    text = (tmp_path / "mine" / "own.md").read_text(encoding="utf-8").replace("s{%", "{% include '../_part.md' %}{%")
    (tmp_path / "mine" / "own.md").write_text(text, encoding="utf-8")
    assert PromptLibrary(tmp_path).render("prompts/mine/own.md", sample_context()).system == "up"
