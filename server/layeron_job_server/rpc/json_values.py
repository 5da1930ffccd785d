"""google.protobuf.Value to JSON text and back. Only plain stubs and grpcurl pay for it; our clients send text."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import orjson
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

# A whole number below this is written without an exponent, as JavaScript does.
_PLAIN_INTEGER_MAX: Final = 1e21


def to_text(value: Value) -> bytes:
    """The value as JSON text. Nothing is checked here: NaN, U+0000 and depth are refused like in any other text."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            whole = math.isfinite(number) and number.is_integer() and abs(number) < _PLAIN_INTEGER_MAX
            return int(number) if whole else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {key: _plain(member) for key, member in value.struct_value.fields.items()}
        case "list_value":
            return [_plain(member) for member in value.list_value.values]
    return None


def from_text(text: bytes) -> Value:
    """The value of JSON text that follows the rules. Numbers become doubles."""
    value = Value()
    json_format.ParseDict(orjson.loads(text), value)
    return value
