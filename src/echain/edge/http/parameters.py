"""Path and query parameters: text to Structs, with every wrong field named."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, get_args

import msgspec
from msgspec import NODEFAULT, inspect

from echain.edge.http.errors import FieldError, Malformed, invalid_fields
from echain.edge.http.router import decode_escaped
from echain.edge.http.structs import bare

MAX_PARAMETERS = 100
INT64 = 1 << 63
LINE_BREAK = "ends with a line break"

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


class Rejected(ValueError):
    """The text is not of the parameter's kind; the message is the reason."""


def _integer(text: str) -> int:
    number = int(text) if _INTEGER.fullmatch(text) else INT64
    if not -INT64 <= number < INT64:
        raise Rejected("an integer of at most 64 bits in plain digits")
    return number


def _number(text: str) -> float:
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise Rejected("a finite decimal number")
    return number


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text]
    except KeyError:
        raise Rejected("true or false") from None


def without_none(annotation: Any) -> Any:
    """Return the type without None: a parameter that is not given says None, no text does."""
    arguments = get_args(annotation)
    if type(None) not in arguments:
        return annotation
    rest = tuple(argument for argument in arguments if argument is not type(None))
    return reduce(or_, rest)


def loosely_ended(text: str, kind: inspect.Type) -> bool:
    """Whether a pattern's ``$`` let a last line break pass, as Python's does and JSON Schema's does not."""
    return isinstance(kind, inspect.StrType) and kind.pattern is not None and text.endswith("\n")


def _text_parser(kind: inspect.StrType) -> Callable[[str], object]:
    ends_strictly = kind.pattern is not None

    def parse(text: str) -> str:
        if "\x00" in text:
            raise Rejected("a NUL character cannot be stored")
        if ends_strictly and text.endswith("\n"):
            raise Rejected(LINE_BREAK)
        return text

    return parse


def _parser(kind: inspect.Type) -> Callable[[str], object] | None:
    """Return what makes a value of a parameter's text; None where msgspec takes the text itself."""
    values: Sequence[object] = ()
    if isinstance(kind, inspect.LiteralType):
        values = kind.values
    elif isinstance(kind, inspect.EnumType):
        values = [member.value for member in kind.cls]
    if isinstance(kind, inspect.IntType) or (values and all(isinstance(value, int) for value in values)):
        return _integer
    if isinstance(kind, inspect.FloatType):
        return _number
    if isinstance(kind, inspect.StrType):
        return _text_parser(kind)
    return _boolean if isinstance(kind, inspect.BoolType) else None


class _Parameter:
    __slots__ = ("_parse", "_type", "many", "name", "required", "slot")

    def __init__(self, field: msgspec.structs.FieldInfo) -> None:
        self.name = field.encode_name
        self.slot = field.name
        self._type = without_none(field.type)
        self.required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        kind = bare(inspect.type_info(self._type))
        self.many = isinstance(kind, inspect.CollectionType)
        self._parse = _parser(bare(kind.item_type) if isinstance(kind, inspect.CollectionType) else kind)

    def convert(self, texts: Sequence[str]) -> object:
        if self.many:
            parse = self._parse
            return msgspec.convert([parse(text) for text in texts] if parse else texts, self._type)
        if len(texts) > 1:
            raise Rejected("given more than once")
        return self.one(texts[0])

    def one(self, text: str) -> object:
        return msgspec.convert(text if self._parse is None else self._parse(text), self._type)


class Parameters:
    """A decoder of named texts into one Struct type.

    Integers, numbers and booleans are read from their plain spelling; other types from what JSON strings
    would hold. A collection takes a repeated parameter, anything else is given at most once. Unknown names
    are refused, but for a Struct whose class says ``takes_others = True``, as specifications of others may
    demand.
    """

    def __init__(self, struct: type[msgspec.Struct]) -> None:
        self._struct = struct
        self._takes_others = getattr(struct, "takes_others", False)
        fields = msgspec.structs.fields(struct)
        self._known = {field.encode_name: _Parameter(field) for field in fields}
        self._names = tuple(self._known)
        self._empty = self._shared_default()
        self._required = frozenset(name for name, known in self._known.items() if known.required)

    def _shared_default(self) -> msgspec.Struct | None:
        """Return the Struct of no parameters, if it can be told beforehand and nobody can change it."""
        fields = msgspec.structs.fields(self._struct)
        frozen = self._struct.__struct_config__.frozen
        return self._struct() if frozen and all(field.default is not NODEFAULT for field in fields) else None

    def query(self, query_string: bytes) -> msgspec.Struct:
        """Return the Struct of a query string.

        Raises:
            Malformed: a broken escape, not UTF-8, or over 100 parameters.
            Invalid: with every wrong field.
        """
        if not query_string and self._empty is not None:
            return self._empty
        given: dict[str, list[str]] = {}
        if query_string:
            pairs = query_string.split(b"&")
            if len(pairs) > MAX_PARAMETERS:
                raise Malformed(f"The query holds more than {MAX_PARAMETERS} parameters.")
            for pair in pairs:
                if not pair:
                    continue
                name, _, value = pair.partition(b"=")
                given.setdefault(_decoded(name), []).append(_decoded(value))
        return self.named(given)

    def named(self, given: Mapping[str, Sequence[str]]) -> msgspec.Struct:
        """Return the Struct of decoded texts by name.

        Raises:
            Invalid: with every wrong field.
        """
        values: dict[str, object] = {}
        wrong: list[FieldError] = []
        known = self._known
        for name, texts in given.items():
            parameter = known.get(name)
            if parameter is None and self._takes_others:
                continue
            if parameter is None:
                expected = ", ".join(self._names) or "none"
                wrong.append({"path": name, "reason": f"unknown parameter; known here: {expected}"})
                continue
            try:
                values[parameter.slot] = parameter.convert(texts)
            except (Rejected, msgspec.ValidationError) as error:
                wrong.append({"path": name, "reason": str(error)})
        wrong.extend({"path": name, "reason": "required"} for name in self._required.difference(given))
        if wrong:
            raise invalid_fields(wrong)
        try:
            return self._struct(**values)
        except ValueError as error:  # a Struct may check its fields against each other in __post_init__
            raise invalid_fields([{"path": "", "reason": str(error)}]) from None


class PathParameters:
    """A decoder of a path's values, in the order in which they stand there."""

    def __init__(self, struct: type[msgspec.Struct], names: Sequence[str]) -> None:
        self._names = names
        self._struct = struct
        self._parameters = Parameters(struct)
        by_name = {field.encode_name: _Parameter(field) for field in msgspec.structs.fields(struct)}
        self._readers = [by_name[name].one for name in names]
        self._in_order = list(by_name) == list(names)

    def decode(self, values: Sequence[str]) -> msgspec.Struct:
        """Return the Struct of the values, one for each name.

        Raises:
            Invalid: with every wrong field.
        """
        if self._in_order:
            try:
                return self._struct(*[read(value) for read, value in zip(self._readers, values, strict=True)])
            except ValueError:
                pass  # looked at again below, field by field, for all that is wrong
        return self._parameters.named(
            {name: (value,) for name, value in zip(self._names, values, strict=True)}
        )


def _decoded(text: bytes) -> str:
    return decode_escaped(text.replace(b"+", b" "), "query")
