"""Sign-in providers by environment: read whole, wrong ones told with what to do, secrets never shown."""

from __future__ import annotations

import pytest

from echain.entry.report import show_config
from echain.infra.config import ConfigError, environment_of, load
from echain.infra.oidcsettings import OidcSettings
from echain.infra.secret import Secret

CORP = {
    "ECHAIN_OIDC_CORP_ISSUER": "https://login.corp.example/realms/staff",
    "ECHAIN_OIDC_CORP_CLIENT_ID": "echain",
    "ECHAIN_OIDC_CORP_CLIENT_SECRET": "planted-secret",
}
AWAY = {"ECHAIN_RPC_URL_8453": "https://one.example"}


def test_a_provider_is_read_with_what_it_needs_and_defaults_for_the_rest() -> None:
    assert load(CORP).oidc == (
        OidcSettings(
            name="corp",
            issuer="https://login.corp.example/realms/staff",
            client_id="echain",
            client_secret=Secret("planted-secret"),
            scopes=("openid", "email", "profile"),
        ),
    )
    assert load(CORP).oidc[0].shown == "Corp"
    assert load({}).oidc == ()


def test_everything_may_be_said_and_several_providers_stand_side_by_side() -> None:
    more = {
        "ECHAIN_OIDC_CORP_NAME_SHOWN": "Corp account",
        "ECHAIN_OIDC_CORP_SCOPES": "openid, email",
        "ECHAIN_OIDC_CORP_DOMAINS": "Corp.example, corp.test",
        "ECHAIN_OIDC_CORP_PRIVATE": "true",
        "ECHAIN_OIDC_OTHER_ONE_ISSUER": "https://other.example",
        "ECHAIN_OIDC_OTHER_ONE_CLIENT_ID": "id",
    }
    corp, other = load({**CORP, **more}).oidc
    assert (corp.shown, corp.scopes, corp.domains, corp.private) == (
        "Corp account",
        ("openid", "email"),
        ("corp.example", "corp.test"),
        True,
    )
    assert (other.name, other.client_secret, other.private) == ("other-one", None, False)


def test_a_child_is_given_the_same_providers() -> None:
    config = load(
        {
            **CORP,
            "ECHAIN_HOME": "/some/where",
            "ECHAIN_RPC_URL_84532": "http://127.0.0.1:8545",
            "ECHAIN_OIDC_CORP_DOMAINS": "corp.example",
            "ECHAIN_OIDC_CORP_PRIVATE": "true",
            "ECHAIN_OIDC_OTHER_ONE_ISSUER": "https://other.example",
            "ECHAIN_OIDC_OTHER_ONE_CLIENT_ID": "id",
        }
    )
    assert load(environment_of(config)) == config


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ECHAIN_OIDC_CORP_ISSUER": ""}, "ECHAIN_OIDC_CORP_ISSUER is missing"),
        ({"ECHAIN_OIDC_CORP_CLIENT_ID": ""}, "ECHAIN_OIDC_CORP_CLIENT_ID is missing"),
        ({"ECHAIN_OIDC_CORP_ISSUER": "login.corp.example"}, "ECHAIN_OIDC_CORP_ISSUER must be the provider's"),
        ({"ECHAIN_OIDC_CORP_ISSUER": "https://a.example/?b"}, "without credentials, query and fragment"),
        ({"ECHAIN_OIDC_CORP_ISSUER": "https://u:p@a.example"}, "without credentials, query and fragment"),
        ({"ECHAIN_OIDC_CORP_SCOPES": "email"}, "openid among them"),
        ({"ECHAIN_OIDC_CORP_DOMAINS": "@corp.example"}, "must be domains like example.org"),
        ({"ECHAIN_OIDC_CORP_DOMAINS": "corp.example,"}, "must be domains like example.org"),
        (
            {"ECHAIN_OIDC_CORP_DOMAINS": "corp.example", "ECHAIN_OIDC_CORP_SCOPES": "openid"},
            "ECHAIN_OIDC_CORP_DOMAINS needs the scope email in ECHAIN_OIDC_CORP_SCOPES",
        ),
        ({"ECHAIN_OIDC_CORP_PRIVATE": "perhaps"}, "ECHAIN_OIDC_CORP_PRIVATE must be true or false"),
        (
            {
                "ECHAIN_OIDC_TWIN_ISSUER": CORP["ECHAIN_OIDC_CORP_ISSUER"],
                "ECHAIN_OIDC_TWIN_CLIENT_ID": "x",
            },
            "ECHAIN_OIDC_TWIN_ISSUER is that of ECHAIN_OIDC_CORP",
        ),
        ({"ECHAIN_OIDC_CORP_SECRET": "planted-secret"}, "did you mean ECHAIN_OIDC_"),
        ({"ECHAIN_OIDC_CLIENT_ID": "x"}, "ECHAIN_OIDC_CLIENT_ID is not a variable"),
        ({"ECHAIN_OIDC_CORP_CLIENT_SECRET": "planted-secret\u00e4"}, "what was given is not shown"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do_and_without_the_secret(
    changes: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load({**CORP, **changes})
    assert told in caught.value.message
    assert len(caught.value.problems) == 1
    assert "planted-secret" not in caught.value.message


def test_plain_http_is_for_a_devnet_alone() -> None:
    plain = {**CORP, "ECHAIN_OIDC_CORP_ISSUER": "http://127.0.0.1:9000"}
    assert load(plain).oidc[0].issuer == "http://127.0.0.1:9000"
    assert load({**plain, **AWAY, "ECHAIN_DEVNET": "true"}).oidc
    for away in (AWAY, {"ECHAIN_DEVNET": "false"}):
        with pytest.raises(ConfigError, match="must start with https://"):
            load({**plain, **away})


def test_the_secret_is_shown_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    config = load(CORP)
    show_config(config)
    shown = capsys.readouterr().out
    assert "ECHAIN_OIDC_CORP_CLIENT_SECRET" in shown
    assert "ECHAIN_OIDC_CORP_SCOPES" in shown
    assert "planted-secret" not in shown + repr(config) + str(config)
