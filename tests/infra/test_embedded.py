"""Embedded parts start, survive being killed, and never outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.conftest import VOLATILE, psql

from echain.infra.embedded import child
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis

PARTS = """
import sys, time
from pathlib import Path
from echain.infra.embedded.anvil import Anvil
from echain.infra.embedded.postgres import Postgres
from echain.infra.embedded.redis import Redis
folder = Path(sys.argv[1])
for part in (Postgres(folder / "postgres"), Redis(folder / "redis"), Anvil(folder / "anvil", home=folder)):
    part.start()
print("ready", flush=True)
time.sleep(600)
"""


def test_data_survives_a_stop_and_a_crash(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    server.start()
    psql(server.url("postgres"), "CREATE TABLE note AS SELECT 'kept' AS text")
    server.stop()
    server.start()
    server.kill()
    server.start()
    assert psql(server.url("postgres"), "SELECT text FROM note") == "kept"
    server.stop()


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("name" * 20)
    with Postgres(folder, settings=VOLATILE) as server:
        assert psql(server.url("postgres"), "SELECT 1") == "1"


def test_a_path_with_spaces_and_signs_is_no_obstacle(tmp_path: Path) -> None:
    with Postgres(tmp_path / "my folder & 100% ü", settings=VOLATILE) as server:
        assert psql(server.url("postgres"), "SELECT 1") == "1"


def test_the_process_id_of_a_dead_server_may_belong_to_another_program_by_now(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", settings=VOLATILE)
    server.start()
    record = (server.data / "postmaster.pid").read_text()
    server.kill()
    first, rest = record.split("\n", 1)
    assert first != str(os.getppid())
    (server.data / "postmaster.pid").write_text(f"{os.getppid()}\n{rest}")
    server.start()
    assert psql(server.url("postgres"), "SELECT 1") == "1"
    server.stop()


def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    draft = tmp_path / "postgres" / "data.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18")
    with Postgres(tmp_path / "postgres", settings=VOLATILE) as server:
        assert psql(server.url("postgres"), "SELECT 1") == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can close a folder to PostgreSQL's account")
def test_as_root_it_runs_below_a_folder_that_only_root_may_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with Postgres(closed / "postgres", settings=VOLATILE) as server:
        assert psql(server.url("postgres"), "SELECT 1") == "1"
    assert closed.stat().st_mode & 0o777 == 0o700


def test_only_its_owner_can_enter_the_folder_of_the_data(tmp_path: Path) -> None:
    with Postgres(tmp_path / "postgres", settings=VOLATILE) as server:
        for folder in (server.folder, server.data):
            assert folder.stat().st_mode & 0o077 == 0
        assert server.folder.stat().st_uid == os.geteuid()


def test_a_failure_to_start_says_why(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", settings={"no_such_setting": "1"})
    with pytest.raises(child.PartFailed, match="no_such_setting"):
        server.start()
    assert not server.running


def test_redis_keeps_its_address_and_forgets_its_data(own_redis: Redis) -> None:
    url = own_redis.url
    own_redis.kill()
    own_redis.start()
    assert own_redis.url == url
    assert not list(own_redis.folder.glob("*.rdb"))


def test_the_chain_survives_a_stop_with_its_logs(anvil: Anvil) -> None:
    sender = anvil.rpc("eth_accounts")[0]
    anvil.rpc("eth_sendTransaction", {"from": sender, "data": "0x60006000a000", "gas": "0x186a0"})
    anvil.rpc("evm_mine")
    logs = anvil.rpc("eth_getLogs", {"fromBlock": "0x0"})
    assert len(logs) == 1
    anvil.stop()
    anvil.start()
    assert anvil.rpc("eth_getLogs", {"fromBlock": "0x0"}) == logs


def test_a_broken_record_of_the_chain_begins_a_new_one(anvil: Anvil) -> None:
    anvil.rpc("evm_mine")
    anvil.stop()
    state = anvil.folder / "state.json"
    state.write_bytes(state.read_bytes()[:100])
    anvil.start()
    assert anvil.rpc("eth_blockNumber") == "0x0"


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARTS, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert {"postgres", "redis-server", "anvil"} <= {process.name() for process in children}
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [process.name() for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_killed_parent_can_be_followed_at_once(tmp_path: Path) -> None:
    """The next start waits for what still shuts down instead of failing on it."""
    for _ in range(3):
        parent = subprocess.Popen([sys.executable, "-c", PARTS, str(tmp_path)], stdout=subprocess.PIPE)
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    began = time.monotonic()
    with Postgres(tmp_path / "postgres") as server:
        assert psql(server.url("postgres"), "SELECT 1") == "1"
    assert time.monotonic() - began < 20
