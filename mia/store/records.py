"""What a journal record holds: decoded events and effects as msgpack, exactly as step saw and gave them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from mia.domain.effects import AnyEffect
from mia.domain.errors import DataError
from mia.domain.events import AnyEvent

EVENT: Final = 1
EFFECTS: Final = 2

_EVENT_DECODER: Final[msgspec.msgpack.Decoder[AnyEvent]] = msgspec.msgpack.Decoder(AnyEvent)
_EFFECTS_DECODER: Final[msgspec.msgpack.Decoder[tuple[AnyEffect, ...]]] = msgspec.msgpack.Decoder(tuple[AnyEffect, ...])


def decode_event(payload: memoryview | bytes) -> AnyEvent:
    """The event of one record; DataError when it is not one of ours (the CRC was fine: another version wrote it)."""
    try:
        return _EVENT_DECODER.decode(payload)
    except msgspec.MsgspecError as e:
        raise DataError(f"a journal record does not hold an event of this version ({e}): use the version that wrote it") from e


def decode_effects(payload: memoryview | bytes) -> Sequence[AnyEffect]:
    """The effects of one record, in the order step gave them."""
    try:
        return _EFFECTS_DECODER.decode(payload)
    except msgspec.MsgspecError as e:
        raise DataError(f"a journal record does not hold effects of this version ({e}): use the version that wrote it") from e


def tag_prefix(struct: type[msgspec.Struct]) -> bytes:
    """First bytes of an encoded event of this type after the array header: its tag as a msgpack string."""
    return bytes(msgspec.msgpack.encode(struct.__struct_config__.tag))
