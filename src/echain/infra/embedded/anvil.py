"""A local EVM node whose chain survives its restarts."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from echain.infra.embedded import child
from echain.infra.embedded.node import anvil_program

_START_SECONDS: Final = 20.0
_SAVE_SECONDS: Final = 10
"""How often the chain is written down; a killed node forgets less than this, and the indexer sees a reorg."""


class RpcError(Exception):
    """The node answered a call with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message", "the node gave no reason"))
        self.error = error


class Anvil:
    """A node on a port of 127.0.0.1 that stays the same over restarts of this object.

    ``block_seconds`` 0 mines a block per transaction; otherwise blocks also come at that interval.
    ``keep`` writes the chain to ``folder`` and continues it at the next start. ``options`` are further
    words of its command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        home: Path,
        chain_id: int = 84532,
        block_seconds: int = 0,
        keep: bool = True,
        options: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "log"
        self._record = self.folder / "state.json"
        self._options = options
        self.chain_id = chain_id
        self.port = port or child.free_port()
        self._home = home
        self._block_seconds = block_seconds
        self._keep = keep
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the node and return once it answers.

        A record of the chain that was cut off by a crash is put aside, and a new chain begins.

        Raises:
            PartFailed: it cannot be installed or does not come up; the text ends with the log.
        """
        program = anvil_program(self._home)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._launch(program)
        except child.PartFailed as error:
            if "failed to parse json" not in str(error):
                raise
            self._record.replace(self._record.with_suffix(".broken"))
            self._launch(program)

    def _launch(self, program: Path) -> None:
        command = [
            str(program),
            *("--host", "127.0.0.1", "--port", str(self.port), "--chain-id", str(self.chain_id)),
            *("--cache-path", str(self.folder / "cache"), "--quiet"),
            *self._options,
        ]
        if self._block_seconds:
            command += ["--mixed-mining", "--block-time", str(self._block_seconds)]
        if self._keep:
            command += ["--state", str(self._record), "--state-interval", str(_SAVE_SECONDS)]
        with self.log.open("wb") as log:
            self._process = child.spawn(command, output=log, parting=signal.SIGTERM, folder=self.folder)
        child.wait_until(self._ready, self._process, name="anvil", log=self.log, seconds=_START_SECONDS)

    def stop(self) -> None:
        """End the node after it has written its chain down."""
        if self._process is not None:
            child.stop(self._process, signal.SIGTERM)
            self._process = None

    def kill(self) -> None:
        """End the node as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def rpc(self, method: str, *params: Any) -> Any:
        """Call the node and return its result; blocks the caller, meant for start-up and tests.

        Raises:
            RpcError: the node refuses.
        """
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.url, data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            decoded = json.load(answer)
        if "error" in decoded:
            raise RpcError(decoded["error"])
        return decoded["result"]

    def _ready(self) -> bool:
        try:
            return bool(self.rpc("web3_clientVersion"))
        except OSError:
            return False
