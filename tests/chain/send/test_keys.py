"""The platform's key signs, and shows itself nowhere."""

from __future__ import annotations

import copy
import json
import pickle
import stat

import pytest
from eth_account import Account

from echain.chain.keys import DEVNET_KEY, Key, KeyUnusable, Unsigned, load_keystore, platform_key
from echain.infra.secret import Secret
from echain.kernel.evm import Address, checksum
from echain.kernel.money import Wei

SECRET = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
UNSIGNED = Unsigned(84532, 3, Address(b"\x01" * 20), b"\x02", Wei(5), 50_000, 10**9, 10**6)


def test_signing_twice_gives_the_same_bytes_of_the_right_sender():
    key = Key(Secret(SECRET))
    first, second = key.sign(UNSIGNED), key.sign(UNSIGNED)
    assert first == second
    assert Account.recover_transaction(first.raw) == checksum(key.address)


def test_a_key_does_not_print_copy_or_travel():
    key = Key(Secret(SECRET))
    for shown in (repr(key), str(key), f"{key}", repr({"key": key})):
        assert SECRET not in shown
        assert checksum(key.address) in shown
    for leave in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="travel"):
            leave(key)


@pytest.mark.parametrize("text", ["", "12", "zz" * 32, "00" * 32, "ff" * 32])
def test_a_wrong_key_is_refused_without_being_shown(text):
    with pytest.raises(KeyUnusable) as refusal:
        Key(Secret(text))
    seen = refusal.value
    while seen is not None:
        assert not text or text not in str(seen)
        seen = seen.__cause__


def test_a_saved_key_opens_with_its_password_only(tmp_path):
    path, password = tmp_path / "key.json", Secret("correct horse")
    key = Key(Secret(SECRET))
    key.save(path, password)
    assert SECRET not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_keystore(path, password).address == key.address
    with pytest.raises(KeyUnusable, match="password"):
        load_keystore(path, Secret("wrong"))
    with pytest.raises(FileExistsError):
        key.save(path, password)


@pytest.mark.parametrize("content", ["", "[]", "{}", "no json", json.dumps({"version": 3, "crypto": {}})])
def test_a_file_that_is_no_keystore_is_refused(tmp_path, content):
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(KeyUnusable):
        load_keystore(path, Secret("x"))


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(KeyUnusable, match="nowhere"):
        load_keystore(tmp_path / "nowhere", Secret("x"))


def test_only_a_devnet_works_without_a_key():
    assert (
        platform_key(plain=None, keystore=None, password=None, devnet=True).address == Key(DEVNET_KEY).address
    )
    with pytest.raises(KeyUnusable, match="ECHAIN_PLATFORM_KEY"):
        platform_key(plain=None, keystore=None, password=None, devnet=False)
    own = platform_key(plain=Secret(SECRET), keystore=None, password=None, devnet=True)
    assert own.address == Key(Secret(SECRET)).address
