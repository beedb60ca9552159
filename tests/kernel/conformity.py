"""Whether a message is what its type says."""

from __future__ import annotations

import msgspec

from echain.kernel.messages import TYPES, Message


def conforms(message: Message) -> None:
    """Check a message against its type.

    Raises:
        msgspec.ValidationError: a field is missing, unknown or of another kind, or a channel is not one of
            the type's.
        KeyError: there is no such type.
    """
    kind = TYPES[message.type]
    msgspec.convert(message.data, kind.data)
    for channel in message.channels:
        if channel.partition(":")[0] not in kind.channels:
            raise msgspec.ValidationError(f"{message.type} is not told on {channel}")
