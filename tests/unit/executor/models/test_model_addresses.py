"""Where an endpoint may be, and that no message repeats a password."""

import pytest

from executor.errors import ExecutorConfigError
from executor.models.addresses import check_base_url, check_peer, same_url, shown_url

PEERS = ["10.1.2.3", "127.0.0.1", "::1", "169.254.169.254", "fe80::1%eth0"]
ALLOWED = [
    "https://api.openai.com/v1",
    "https://api.deepseek.com",
    "https://8.8.8.8/v1",
    "https://[2606:4700::1]/v1",
    "https://[64:ff9b::808:808]/v1",
    "https://[::ffff:8.8.8.8]/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://127.0.0.1:8080/v1",
    "http://localhost:11434/v1",
    "https://localhost/v1",
    "http://[::1]:8000/v1",
]
PRIVATE = [
    "http://10.0.0.5:8000/v1",
    "https://192.168.1.7/v1",
    "https://172.16.0.1/v1",
    "http://169.254.169.254/latest",
    "https://0.0.0.0/v1",
    "https://100.64.0.1/v1",
    "https://[fd00::1]/v1",
    "https://[fe80::1]/v1",
    "https://[::ffff:10.0.0.1]/v1",
    "https://[::10.0.0.1]/v1",
    "https://[64:ff9b::a00:1]/v1",
    "https://[64:ff9b:1::7f00:1]/v1",
    "https://[2002:a00:1::]/v1",
    "https://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/v1",
    "https://vllm/v1",
    "https://llm.internal/v1",
    "https://box.local./v1",
    "https://2130706433/v1",
    "https://127.1/v1",
    "https://10.0.0.0x1/v1",
]


@pytest.mark.parametrize("url", ALLOWED)
def test_public_https_and_this_machine_are_allowed(url: str) -> None:
    check_base_url(url)


@pytest.mark.parametrize("url", PRIVATE)
def test_private_networks_need_to_be_meant(url: str) -> None:
    with pytest.raises(ExecutorConfigError, match="allow_private: true"):
        check_base_url(url)
    check_base_url(url, allow_private=True)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("url", ["http://api.openai.com/v1", "http://8.8.8.8/v1"])
def test_keys_never_cross_the_internet_in_the_open(url: str, private: bool) -> None:
    with pytest.raises(ExecutorConfigError, match="write https://"):
        check_base_url(url, allow_private=private)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "expected a URL"),
        ("api.openai.com/v1", "expected a URL"),
        ("ftp://api.openai.com", "expected a URL"),
        ("https:///v1", "expected a URL"),
        ("https://a:99999/v1", "not a URL"),
        ("https://[::1/v1", "not a URL"),
        ("https://me:hunter2@api.openai.com/v1", "user or password"),
        ("https://api.openai.com/v1?key=hunter2", r"without \? or #"),
        (" https://api.openai.com/v1", "blanks"),
        ("https://api.openai.com /v1", "blanks"),
        ("https://api.openai.com/v1\n", "blanks"),
        ("https://api.\u00f6penai.com/v1", "no URL has"),
        ("https://api.openai.com/v1/chat/completions/", "must end before /chat/completions"),
    ],
)
def test_a_wrong_url_is_told_without_its_secrets(url: str, told: str) -> None:
    with pytest.raises(ExecutorConfigError, match=told) as caught:
        check_base_url(url, allow_private=True)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in shown_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("127.0.0.1:8123/v1", "127.0.0.1:8123/v1"),
        ("localhost:8123/v1", "localhost:8123/v1"),
        ("api.openai.com/v1?key=hunter2", "an unreadable URL"),
        ("user:hunter2@api.openai.com/v1", "an unreadable URL"),
        ("https://user:hunter2@api.openai.com/v1?key=hunter2", "https://api.openai.com/v1"),
    ],
)
def test_a_url_is_shown_as_it_was_written_but_for_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize("address", [*PEERS, "::ffff:192.168.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::10.0.0.1"])
def test_a_public_name_that_leads_inside_is_refused(address: str) -> None:
    with pytest.raises(ExecutorConfigError, match=r"llm\.example\.com resolves to the private address"):
        check_peer(address, host="llm.example.com")


def test_a_public_name_that_leads_outside_is_fine() -> None:
    check_peer("93.184.216.34", host="llm.example.com")
    check_peer("127.0.0.1", host="localhost")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://API.Example.com:443/v1/", "https://api.example.com/v1"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_spellings_of_one_address_are_the_same(url: str, same: str) -> None:
    assert same_url(url) == same == same_url(same)
