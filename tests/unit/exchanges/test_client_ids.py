"""Client order ids: opaque, the same for the same order, and read back from what each kind of venue calls them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.client_ids import AS_IT_IS, CHARACTERS_36, HEX_128, ORDER_REF, ClientIdForm, new_client_order_id
from exchanges.types import ClientOrderId

FORMS = {
    "as it is": (AS_IT_IS, r"[0-9a-f]{32}"),
    "128 bits": (HEX_128, r"0x[0-9a-f]{32}"),
    "36 characters": (CHARACTERS_36, r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "order reference": (ORDER_REF, r"propdesk-[0-9a-f]{32}"),
}
OLD = ClientOrderId("trend.BTC/USDT:USDT~target.0000000012.003")
parts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=6)


@pytest.mark.parametrize(("form", "pattern"), FORMS.values(), ids=FORMS)
def test_an_id_comes_back_from_the_form_of_a_venue(form: ClientIdForm, pattern: str) -> None:
    @given(parts)
    def check(given_parts: list[str]) -> None:
        made = new_client_order_id(*given_parts)
        written = form.write(made)
        assert re.fullmatch(pattern, written)
        assert form.read(written) == made

    check()


def test_the_forms_fit_where_they_go() -> None:
    made = new_client_order_id("default", "paper", "0000000012", "BTC/USDT:USDT", "stop.trend", "3")
    assert int(HEX_128.write(made), 16) < 2**128
    assert len(CHARACTERS_36.write(made)) == 36
    assert re.fullmatch(r"[.A-Z:/a-z0-9_-]{1,36}", CHARACTERS_36.write(made))


@given(parts, parts)
def test_only_equal_parts_give_an_equal_id(one: list[str], other: list[str]) -> None:
    assert (new_client_order_id(*one) == new_client_order_id(*other)) == (one == other)


def test_an_id_names_neither_trader_nor_symbol_and_parts_do_not_run_together() -> None:
    made = new_client_order_id("default", "paper", "1", "BTC/USDT:USDT", "stop.abc", "1")
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert made != new_client_order_id("default", "paper", "1", "BTC/USDT:USDT", "stop.abc1", "")


@pytest.mark.parametrize("form", [HEX_128, CHARACTERS_36, ORDER_REF], ids=["128 bits", "36 characters", "reference"])
def test_what_others_call_their_orders_is_no_id_of_ours(form: ClientIdForm) -> None:
    made = new_client_order_id("x")
    foreign = [
        "",
        "manual",
        made,
        f"0x{made[:-1]}",
        f"{form.write(made)}0",
        made.replace("a", "g"),
        f"x-{made}",
        "-" * 36,
    ]
    assert [form.read(text) for text in foreign] == [None] * len(foreign)
    assert form.read(form.write(made).upper()) == made


def test_an_id_of_an_earlier_version_goes_to_paper_only() -> None:
    assert AS_IT_IS.read(AS_IT_IS.write(OLD)) == OLD
    assert AS_IT_IS.read("") is None
    with pytest.raises(ValueError, match=r"trend\.BTC.* expected 32 hexadecimal digits; only paper takes it"):
        HEX_128.write(OLD)
