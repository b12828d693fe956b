"""X-Forwarded-For: the right-most hop that is no proxy of ours, and nobody else's word."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.serve.http.proxy import Proxies, parse
from tests.serve.served import server

OURS = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32")
PROXY = st.sampled_from(["10.1.2.3", "192.0.2.1", "2001:db8::7", "::ffff:10.0.0.9"])
STRANGER = st.sampled_from(["203.0.113.5", "198.51.100.1", "2001:db9::1", "127.0.0.1"])
WRITTEN = st.sampled_from(["{}", " {} ", "{}:4711", "[{}]", "[{}]:80"])


def written(address: str, form: str) -> str:
    bare = ":" in address and "[" not in form and form.strip() != "{}"
    return f"[{address}]:4711" if bare else form.format(address)


@given(
    lies=st.lists(st.text(alphabet="0123456789.:,[]a ", max_size=12), max_size=3),
    client=STRANGER,
    proxies=st.lists(PROXY, min_size=1, max_size=3),
    forms=st.lists(WRITTEN, min_size=4, max_size=4),
    split=st.integers(0, 6),
)
def test_the_right_most_hop_that_is_no_proxy_counts(
    lies: list[str], client: str, proxies: list[str], forms: list[str], split: int
) -> None:
    """Whatever the client wrote before it, and however many headers it came in."""
    *passed, peer = proxies
    hops = [*lies, *(written(a, f) for a, f in zip([client, *passed], forms, strict=False))]
    headers = [",".join(part) for part in (hops[:split], hops[split:]) if part]
    assert Proxies(OURS).client(peer, headers) == str(parse(client))


@given(peer=STRANGER, hops=st.lists(st.one_of(PROXY, STRANGER), max_size=3))
def test_nobody_else_is_believed(peer: str, hops: list[str]) -> None:
    assert Proxies(OURS).client(peer, hops) == peer
    assert Proxies().client("10.0.0.1", hops) == "10.0.0.1"


@pytest.mark.parametrize("hops, client", [
    ([], "10.0.0.1"),
    (["10.0.0.3"], "10.0.0.3"),  # a client that is a proxy's own machine
    (["203.0.113.5, unknown"], "10.0.0.1"),
    (["203.0.113.5, _hidden, 10.0.0.2"], "10.0.0.2"),
    (["203.0.113.5, "], "10.0.0.1"),
    ([""], "10.0.0.1"),
    (["::ffff:203.0.113.5"], "203.0.113.5"),
])  # fmt: skip
def test_what_is_no_address_is_not_passed_over(hops: list[str], client: str) -> None:
    assert Proxies(OURS).client("10.0.0.1", hops) == client


@pytest.mark.parametrize("proxy, peer, believed", [
    ("::ffff:127.0.0.1", "127.0.0.1", True),
    ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
    ("::ffff:10.0.0.0/104", "10.1.2.3", True),
    ("::ffff:10.0.0.0/104", "11.1.2.3", False),
    ("10.0.0.0/8", "::ffff:10.1.2.3", True),
    ("::1", "::1", True),
])  # fmt: skip
def test_ipv4_within_ipv6_is_ipv4(proxy: str, peer: str, believed: bool) -> None:
    assert Proxies([proxy]).client(peer, ["1.2.3.4"]) == ("1.2.3.4" if believed else peer)


def test_a_peer_without_an_address_stays_as_it_is() -> None:
    assert Proxies(OURS).client("", ["203.0.113.5"]) == ""


def test_the_access_log_names_the_client(tiny_image: Path, tmp_path: Path) -> None:
    def addresses(path: Path, *options: str) -> list[str]:
        lies = {"X-Forwarded-For": "192.0.2.9, 203.0.113.5", "X-Forwarded-Proto": "https"}
        with server(tiny_image, "--threads", "1", "--access-log", str(path), *options) as running:
            assert httpx.get(running.url + "/v1/models", headers=lies).status_code == 200
            assert running.stop() == 0
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        models = [line for line in lines if line["path"] == "/v1/models"]
        assert all(line["client"] == line["address"] for line in models)
        return [line["address"] for line in models]

    assert addresses(tmp_path / "none") == ["127.0.0.1"]
    other = ("--proxy", "10.0.0.0/8", "--proxy", "203.0.113.5")
    assert addresses(tmp_path / "other", *other) == ["127.0.0.1"]
    assert addresses(tmp_path / "one", "--proxy", "127.0.0.1") == ["203.0.113.5"]
    both = ("--proxy", "127.0.0.0/8", "--proxy", "203.0.113.5")
    assert addresses(tmp_path / "two", *both) == ["192.0.2.9"]
