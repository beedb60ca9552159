"""The configuration is read once, and every fault is told at once."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echain.infra.config import VARIABLES, ChainFacts, ConfigError, environment_of, load

KEY = "11" * 32


def test_an_empty_environment_is_the_embedded_devnet() -> None:
    config = load({})
    assert config.devnet
    assert [chain.chain_id for chain in config.chains] == [84532]
    assert config.chains[0].rpc_urls == ()
    assert config.database_url is None
    assert config.public_url == "http://127.0.0.1:8000"


def test_every_fault_is_told_at_once_with_what_to_do() -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            {
                "ECHAIN_PORT": "eighty",
                "ECHAIN_DATABSE_URL": "postgresql://x/y",
                "ECHAIN_REDIS_URL": "http://x",
                "ECHAIN_PLATFORM_KEY": "0xsecret",
                "ECHAIN_CHAINS": "8453",
                "ECHAIN_FACTORY_8453": "0x12",
                "ECHAIN_KEYSTORE": "/key.json",
            }
        )
    text = caught.value.message
    assert "ECHAIN_PORT must be a whole number from 1 to 65535" in text
    assert "did you mean ECHAIN_DATABASE_URL?" in text
    assert "ECHAIN_REDIS_URL must be a URL" in text
    assert "ECHAIN_PLATFORM_KEY must be 64 hexadecimal digits" in text
    assert "ECHAIN_RPC_URL_8453 is missing" in text
    assert "ECHAIN_FACTORY_8453" in text
    assert "ECHAIN_KEYSTORE_PASSWORD" in text
    assert "secret" not in text


@pytest.mark.parametrize(
    "name", ["ECHAIN_RPC_URL_abc", "ECHAIN_RPC_URL_", "ECHAIN_RPC_URL_0", "ECHAIN_NONSENSE"]
)
def test_an_unknown_variable_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load({name: "http://127.0.0.1:1"})


def test_administrators_are_addresses_each_checked_and_named_once() -> None:
    wallet = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    config = load({"ECHAIN_ADMINS": f"{wallet}, {wallet.lower()}"})
    assert config.admins == (bytes.fromhex(wallet[2:]),)
    assert load({"ECHAIN_ADMINS": environment_of(config)["ECHAIN_ADMINS"]}).admins == config.admins
    for wrong in (wallet[:-1], wallet.replace("5aA", "5aa"), f"{wallet},", "admin@example.org"):
        with pytest.raises(ConfigError, match="ECHAIN_ADMINS"):
            load({"ECHAIN_ADMINS": wrong})


def test_variables_of_others_are_none_of_our_business() -> None:
    assert load({"PATH": "/bin", "PGHOST": "x"}) == load({})


def test_an_empty_variable_counts_as_absent() -> None:
    assert load({"ECHAIN_PORT": "", "ECHAIN_DATABASE_URL": "  "}) == load({})


def test_a_chain_is_configured_by_its_endpoint_alone() -> None:
    config = load(
        {"ECHAIN_RPC_URL_8453": "https://one.example/key, https://two.example"},
        facts=lambda *_: ChainFacts(name="Base", confirmations=7),
    )
    assert not config.devnet
    assert config.chains[0].name == "Base"
    assert config.chains[0].confirmations == 7
    assert config.chains[0].rpc_urls == ("https://one.example/key", "https://two.example")


def test_a_chain_that_is_not_named_among_the_chains_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not name chain 10"):
        load({"ECHAIN_CHAINS": "8453", "ECHAIN_RPC_URL_8453": "http://a", "ECHAIN_RPC_URL_10": "http://b"})


def test_what_is_given_wins_over_what_is_known() -> None:
    config = load(
        {"ECHAIN_RPC_URL_1": "http://a", "ECHAIN_CONFIRMATIONS_1": "3", "ECHAIN_BLOCK_SECONDS_1": "0.25"},
        facts=lambda *_: ChainFacts(name="Ethereum", confirmations=64),
    )
    assert (config.chains[0].confirmations, config.chains[0].block_seconds) == (3, 0.25)


def test_secrets_do_not_print() -> None:
    config = load(
        {
            "ECHAIN_PLATFORM_KEY": KEY,
            "ECHAIN_DATABASE_URL": "postgresql://user:hunter2@host/db",
            "ECHAIN_RPC_URL_1": "https://node.example/v2/apikey",
        }
    )
    for text in (repr(config), str(config), f"{config.platform_key}"):
        assert KEY not in text
        assert "hunter2" not in text
        assert "apikey" not in text
    assert config.platform_key is not None
    assert config.platform_key.reveal() == KEY
    assert config.database_url == "postgresql://user:hunter2@host/db"


def test_what_a_child_is_given_reads_back_as_the_same() -> None:
    config = load(
        {
            "ECHAIN_PLATFORM_KEY": KEY,
            "ECHAIN_CODE_KEY": KEY,
            "ECHAIN_HOME": "/some/where",
            "ECHAIN_DEVNET": "true",
            "ECHAIN_DATABASE_URL": "postgresql://user@/db?host=/tmp/socket",
            "ECHAIN_RPC_URL_84532": "http://127.0.0.1:8545",
            "ECHAIN_WS_URL_84532": "ws://127.0.0.1:8545",
            "ECHAIN_FACTORY_84532": "0x4e59b44847b379578588920cA78FbF26c0B4956C",
            "ECHAIN_TREASURY": "0x4e59b44847b379578588920ca78fbf26c0b4956c",
        }
    )
    assert load(environment_of(config)) == config


@given(
    st.dictionaries(
        st.sampled_from([v.name.replace("<id>", "1").replace("<NAME>", "CORP") for v in VARIABLES]),
        st.text(max_size=20),
    )
)
def test_no_value_breaks_the_reading(environment: dict[str, str]) -> None:
    with contextlib.suppress(ConfigError):
        load(environment)


def test_secrets_of_webhooks_are_lists_that_do_not_print_and_reach_a_child_whole() -> None:
    chain = {"ECHAIN_RPC_URL_84532": "http://127.0.0.1:8545", "ECHAIN_HOME": "/some/where"}
    config = load({**chain, "ECHAIN_COINBASE_CDP_SECRETS": "first-secret, second-secret"})
    assert [one.reveal() for one in config.coinbase_cdp_secrets] == ["first-secret", "second-secret"]
    assert "first-secret" not in repr(config)
    assert load(environment_of(config)) == config
    with pytest.raises(ConfigError) as caught:
        load({"ECHAIN_COINBASE_CDP_SECRETS": "first-secret,,"})
    assert "first-secret" not in caught.value.message


def test_data_keys_are_a_list_that_does_not_print_and_reaches_a_child_whole() -> None:
    chain = {"ECHAIN_RPC_URL_84532": "http://127.0.0.1:8545", "ECHAIN_HOME": "/some/where"}
    mail = {
        "ECHAIN_SMTP_URL": "smtp://u:hunter2@mail.example",
        "ECHAIN_MAIL_FROM": "Tickets <t@mail.example>",
    }
    config = load({**chain, **mail, "ECHAIN_DATA_KEYS": f"{KEY}, 0x{'22' * 32}", "ECHAIN_VAPID_KEY": KEY})
    assert [one.reveal() for one in config.data_keys] == [KEY, "22" * 32]
    assert KEY not in repr(config)
    assert "hunter2" not in repr(config)
    assert load(environment_of(config)) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"ECHAIN_DATA_KEYS": f"{KEY},short"},
        {"ECHAIN_SMTP_URL": "smtp://mail.example"},
        {"ECHAIN_MAIL_FROM": "t@mail.example"},
        {"ECHAIN_SMTP_URL": "http://mail.example", "ECHAIN_MAIL_FROM": "t@mail.example"},
        {"ECHAIN_SMTP_URL": "smtp://mail.example", "ECHAIN_MAIL_FROM": "nobody"},
        {"ECHAIN_SMTP_URL": "smtp://mail.example", "ECHAIN_MAIL_FROM": "a@b.example\nBcc: c@d.example"},
    ],
)
def test_what_notifications_need_is_checked_at_the_start(changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        load(changes)
