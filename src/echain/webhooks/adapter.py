"""What Coinbase's types of events mean here, as a table; whatever is not in it is kept and ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec

from echain.kernel.errors import Invalid
from echain.kernel.evm import Address, Hash32, keccak, parse_address, parse_hash
from echain.webhooks.types import BodyWrongShape, ChargeStatus

CHAIN_OF_NETWORK: Final[Mapping[str, int]] = {
    "base-mainnet": 8453,
    "base-sepolia": 84532,
    "ethereum-mainnet": 1,
    "ethereum-sepolia": 11155111,
    "polygon-mainnet": 137,
    "arbitrum-mainnet": 42161,
    "optimism-mainnet": 10,
}
"""Networks as Coinbase names them. It has no Hedera."""

_TRANSFER: Final = keccak(b"Transfer(address,address,uint256)")
_NOBODY: Final = bytes(32)
_TOPICS_20: Final = 3
_TOPICS_721: Final = 4
_MAX_BLOCK: Final = 2**62
_MAX_LOG_INDEX: Final = 2**31 - 1
_MAX_TEXT: Final = 200
_MAX_DIGITS: Final = 40
_MAX_CURRENCY: Final = 20


class Meaning(Enum):
    """What a hint claims that its log is."""

    LOG = "log"
    TRANSFER_721 = "transfer_721"
    MINT_721 = "mint_721"
    TRANSFER_20 = "transfer_20"
    CALL = "call"
    """No log is named: the transaction as a whole is meant."""

    def fits(self, topics: Sequence[bytes]) -> bool:
        """Return whether a log with these topics may be what is claimed."""
        if self in (Meaning.LOG, Meaning.CALL):
            return True
        if not topics or topics[0] != _TRANSFER:
            return False
        if self is Meaning.TRANSFER_20:
            return len(topics) == _TOPICS_20
        return len(topics) == _TOPICS_721 and (self is Meaning.TRANSFER_721 or topics[1] == _NOBODY)


class Hint(msgspec.Struct, frozen=True):
    """Somebody says that something happened on a chain; nothing of it is believed.

    A transaction, or a block and a place in it, is named always; ``log_index`` unless a call is meant.
    """

    meaning: Meaning
    network: str
    block_number: int | None
    block_hash: Hash32 | None
    tx_hash: Hash32 | None
    log_index: int | None
    contract: Address | None

    @property
    def chain_id(self) -> int | None:
        return CHAIN_OF_NETWORK.get(self.network)


class ChargeTold(msgspec.Struct, frozen=True):
    """What became of a charge or checkout, as told; ``amount`` is a decimal text in ``currency``."""

    charge_id: str
    status: ChargeStatus
    code: str | None
    amount: str | None
    currency: str | None
    metadata: Mapping[str, Any]


Reading: TypeAlias = Hint | ChargeTold
Content: TypeAlias = Mapping[str, Any]
_Reader: TypeAlias = Callable[[Content], Reading]


def read(kind: str, content: Content) -> Reading | None:
    """Return what an event of this type says, None for types that we do not know.

    Raises:
        BodyWrongShape: the type is known, and its content is not what the type has.
    """
    reader = TABLE.get(kind)
    return None if reader is None else reader(content)


def _hint(meaning: Meaning) -> _Reader:
    def reader(content: Content) -> Hint:
        # `wallet.activity.*` has its fields one level down.
        data = content.get("data")
        fields: Content = data if isinstance(data, dict) else content
        network = _field(fields, "network")
        hint = Hint(
            meaning,
            network if isinstance(network, str) else "",
            _integer(_field(fields, "block_number"), _MAX_BLOCK),
            _hash(_field(fields, "block_hash")),
            _hash(_field(fields, "transaction_hash")),
            _integer(_field(fields, "log_index"), _MAX_LOG_INDEX),
            _address(_field(fields, "contract_address")),
        )
        if not hint.network or (hint.tx_hash is None and hint.block_number is None):
            raise BodyWrongShape("network, and a transaction or block, are needed")
        if (hint.tx_hash if meaning is Meaning.CALL else hint.log_index) is None:
            raise BodyWrongShape("a log's index, or a call's transaction, is needed")
        return hint

    return reader


def _charge(status: ChargeStatus) -> _Reader:
    def reader(content: Content) -> ChargeTold:
        # Commerce gives the charge itself; a checkout comes as it is or below `data`.
        data = content.get("data")
        fields: Content = data if isinstance(data, dict) and "id" in data else content
        charge_id = fields.get("id")
        if not isinstance(charge_id, str) or not 1 <= len(charge_id) <= _MAX_TEXT:
            raise BodyWrongShape("a charge has an id")
        if b"\\u0000" in msgspec.json.encode(fields):
            raise BodyWrongShape("a NUL character cannot be stored")
        amount, currency = _price(fields)
        code, metadata = fields.get("code"), fields.get("metadata")
        return ChargeTold(
            charge_id,
            status,
            code if isinstance(code, str) and len(code) <= _MAX_TEXT else None,
            amount,
            currency,
            metadata if isinstance(metadata, dict) else {},
        )

    return reader


TABLE: Final[Mapping[str, _Reader]] = {
    # Today's platform: one decoded log each.
    "onchain.activity.detected": _hint(Meaning.LOG),
    "wallet.activity.detected": _hint(Meaning.LOG),
    "wallet.activity.multi": _hint(Meaning.LOG),
    # Its first version.
    "erc721_transfer": _hint(Meaning.TRANSFER_721),
    "erc20_transfer": _hint(Meaning.TRANSFER_20),
    "wallet_activity": _hint(Meaning.LOG),
    "smart_contract_event_activity": _hint(Meaning.LOG),
    # No types of Coinbase's, but words that integrators of the existing platform use.
    "erc721_mint": _hint(Meaning.MINT_721),
    "contract_call": _hint(Meaning.CALL),
    # Commerce, and what replaces it.
    "charge:created": _charge(ChargeStatus.CREATED),
    "charge:pending": _charge(ChargeStatus.PENDING),
    "charge:failed": _charge(ChargeStatus.FAILED),
    "charge:confirmed": _charge(ChargeStatus.CONFIRMED),
    "payment_link.payment.failed": _charge(ChargeStatus.FAILED),
    "payment_link.payment.expired": _charge(ChargeStatus.EXPIRED),
    "payment_link.payment.success": _charge(ChargeStatus.CONFIRMED),
    "checkout.payment.failed": _charge(ChargeStatus.FAILED),
    "checkout.payment.expired": _charge(ChargeStatus.EXPIRED),
    "checkout.payment.success": _charge(ChargeStatus.CONFIRMED),
}


def _field(fields: Content, name: str) -> object:
    """Return a field by its name, or by the camel case that the older version has."""
    first, *rest = name.split("_")
    return fields.get(name, fields.get(first + "".join(word.capitalize() for word in rest)))


def _integer(value: object, most: int) -> int | None:
    """Return a count that is given as a number or as its decimal digits."""
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BodyWrongShape("a block's number and a log's index are whole numbers")
    return value


def _hash(value: object) -> Hash32 | None:
    if value is None:
        return None
    try:
        return parse_hash(value if isinstance(value, str) else "")
    except Invalid as error:
        raise BodyWrongShape(error.message) from None


def _address(value: object) -> Address | None:
    if value is None:
        return None
    try:
        # Lower case: a checksum protects who types, and the value is compared with the chain's anyway.
        return parse_address(value.lower() if isinstance(value, str) else "")
    except Invalid as error:
        raise BodyWrongShape(error.message) from None


def _price(fields: Content) -> tuple[str | None, str | None]:
    """Return amount and currency: a charge's local price, or a checkout's own."""
    pricing = fields.get("pricing")
    local = pricing.get("local") if isinstance(pricing, dict) else None
    price: Content = local if isinstance(local, dict) else fields
    amount, currency = price.get("amount"), price.get("currency")
    if not isinstance(amount, str) or not isinstance(currency, str):
        return None, None
    try:
        exact = Decimal(amount)
    except InvalidOperation:
        raise BodyWrongShape("an amount is a decimal number") from None
    if not exact.is_finite() or exact < 0 or len(amount) > _MAX_DIGITS or len(currency) > _MAX_CURRENCY:
        raise BodyWrongShape("an amount is a decimal number of a currency")
    return amount, currency
