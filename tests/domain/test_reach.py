"""Which addresses notices may go to."""

from ipaddress import ip_address

import pytest

from clento_engine.domain.reach import PUBLIC, has_credentials, masked, misplaced, read_reach

PUBLIC_ONES = [
    "93.184.215.14",
    "8.8.8.8",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
OTHERS = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2001:0:7f00:1::",
    "2001:0:808:808::80ff:fffe",
    "2001:2::1",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC_ONES)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert PUBLIC.allows(ip_address(address))


@pytest.mark.parametrize("address", OTHERS)
def test_no_other_address_may_be_reached_unless_it_is_listed(address: str) -> None:
    found = ip_address(address)
    assert not PUBLIC.allows(found)
    assert read_reach(address).allows(found)
    assert not read_reach("203.0.113.0/24, 2001:db8:1::/48").allows(found)


def test_what_is_listed_may_be_reached_in_every_form() -> None:
    reach = read_reach(" 127.0.0.0/8 ,Hooks.Internal.Example.,[fd00::/8],")
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "fd00::1", "8.8.8.8"):
        assert reach.allows(ip_address(address))
    assert reach.names("hooks.internal.example")
    assert reach.names("HOOKS.internal.example.")
    assert not reach.names("internal.example")
    assert not reach.allows(ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0.1/8", "http://x", "a b", "*.x", "300.1.1.1", "x:80"]
)
def test_an_entry_that_is_neither_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="neither a host nor a network"):
        read_reach(f"127.0.0.0/8,{text}")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "017700000001",
        "169.254.169.254",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1%25eth0]",
        "localhost",
        "LOCALHOST.",
        "db.localhost",
        "10.0.0.1.",
    ],
)
def test_a_url_that_shows_where_it_leads_is_refused_before_anything_starts(host: str) -> None:
    problem, fix = misplaced(f"http://{host}:8080/x", PUBLIC) or ("", "")
    assert "not a public address" in problem
    assert "CLENTO_WEBHOOKS_MAY_REACH" in fix


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example/x", "https://8.8.8.8/", "https://1.example/", "https://[2606::1]/"],
)
def test_what_a_url_does_not_show_is_left_to_the_connection(url: str) -> None:
    assert misplaced(url, PUBLIC) is None


def test_what_is_listed_is_not_refused() -> None:
    reach = read_reach("127.0.0.0/8,localhost,10.1.2.3")
    for host in ("127.1", "localhost", "10.1.2.3"):
        assert misplaced(f"http://{host}/", reach) is None
    assert misplaced("http://10.1.2.4/", reach) is not None


def test_users_and_passwords_of_urls_are_never_shown() -> None:
    assert masked("posted to https://me:Pw@x.example/a@b, ok") == (
        "posted to https://***@x.example/a@b, ok"
    )
    assert masked("http://me:p@w@x.example") == "http://***@x.example"
    assert masked("lea@example.com") == "lea@example.com"
    assert has_credentials("https://me@x.example/")
    assert not has_credentials("https://x.example/@me?a=b@c")
