"""Whether a contract wallet accepts a signature: asked of its code by calls that change nothing.

Signatures of wallets that are not deployed yet come wrapped in the call that deploys them (ERC-6492); wallets
that stand answer by themselves (ERC-1271). The wrapping is looked at first, since a wrapped signature stays
good after the wallet was deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eth_abi.abi import encode as abi_encode

from echain.chain.contracts import contract
from echain.chain.rpc import Rpc
from echain.chain.wire import RpcRefused
from echain.kernel.errors import EchainError, Kind
from echain.kernel.evm import Address, Hash32, checksum, keccak

LONGEST_SIGNATURE: Final = 8_192
"""Bytes. A passkey's signature of a wallet that is still to be deployed has 1,088."""

_WRAPPED: Final = bytes.fromhex("6492" * 16)
_IS_VALID_SIGNATURE: Final = keccak(b"isValidSignature(bytes32,bytes)")[:4]
_ACCEPTED: Final = _IS_VALID_SIGNATURE + bytes(28)
_GAS: Final = 5_000_000
"""What a wallet's code may burn; one that needs more is not believed, and costs the node little."""

_CALLER: Final = "0x000000000000000000000000000000000000ec4a"
"""Somebody without money or code: wallets may take the zero address for a simulation and say yes."""

_REVERTED: Final = frozenset({3, -32000, -32003, -32015})
"""How nodes say that the code refused; any other refusal is the node's own trouble."""


class SignatureUnverifiable(EchainError):
    """The wallet's code could not be asked on its chain now; nobody is signed in by that, try again later."""

    kind = Kind.UNAVAILABLE
    code = "chain.signature_unverifiable"


class ContractWallets:
    """Asks wallets on the configured chains, each by the chain that the signed message names."""

    def __init__(self, rpcs: Mapping[int, Rpc]) -> None:
        self._rpcs = rpcs

    async def accepts(self, chain_id: int, wallet: Address, digest: Hash32, signature: bytes) -> bool:
        """Return whether the code of ``wallet`` takes ``signature`` for ``digest`` at the latest block.

        An address without code accepts nothing, unless the signature brings the code with it.

        Raises:
            SignatureUnverifiable: the chain's nodes do not answer, or the code burns more than 5 M gas.
        """
        rpc = self._rpcs.get(chain_id)
        if rpc is None:
            raise SignatureUnverifiable(f"no node of chain {chain_id} is configured")
        call = {"from": _CALLER, "gas": hex(_GAS)}
        if signature.endswith(_WRAPPED):
            creation = contract("SignatureValidator").creation((checksum(wallet), digest, signature))
            return await _answer(rpc, call | {"data": "0x" + creation.hex()}) == b"\x01"
        question = _IS_VALID_SIGNATURE + abi_encode(("bytes32", "bytes"), (digest, signature))
        asked = call | {"to": checksum(wallet), "data": "0x" + question.hex()}
        return await _answer(rpc, asked) == _ACCEPTED


async def _answer(rpc: Rpc, call: Mapping[str, object]) -> bytes:
    """Return what the called code answers, nothing when it refuses."""
    try:
        answer = str(await rpc.call("eth_call", [call, "latest"]))
        return bytes.fromhex(answer.removeprefix("0x"))
    except RpcRefused as error:
        if error.rpc_code in _REVERTED:
            return b""
        raise SignatureUnverifiable from error
    except (EchainError, ValueError) as error:
        raise SignatureUnverifiable from error
