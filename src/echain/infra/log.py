"""One line an occurrence: JSON for machines, colours for people; secrets do not print."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import msgspec
import structlog

from echain.infra.secret import HIDDEN

_SENSITIVE: Final = frozenset(
    {
        "authorization",
        "cookie",
        "set_cookie",
        "password",
        "passwd",
        "secret",
        "token",
        "access_token",
        "refresh_token",
        "private_key",
        "api_key",
        "signature",
        "seed",
    }
)
"""Fields whose values never reach a log, whatever their type."""

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def configure(*, json: bool, level: str, role: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process, the libraries' included, to ``stream`` (standard error), one line each.

    ``role`` stands in every line, and so does what ``structlog.contextvars`` binds, as a request's id.
    """
    output = stream or sys.stderr
    renderer: Any = JsonLines(output, role) if json else _Console(output)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Role(role),
    ]
    final: list[Any] = [structlog.processors.format_exc_info] if json else []
    structlog.configure(
        processors=[*shared, *final, redact, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *final,
                redact,
                renderer,
            ],
        )
    )
    logging.root.handlers[:] = [handler]
    # Libraries tell at INFO what concerns their own makers.
    own = logging.getLevelNamesMapping()[level.upper()]
    logging.root.setLevel(logging.INFO if own <= logging.DEBUG else max(own, logging.WARNING))


def redact(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide sensitive fields of a log entry, also inside mappings."""
    return {key: _hidden(key, value) for key, value in entry.items()}


def _hidden(key: object, value: object) -> object:
    if isinstance(key, str) and key.lower().replace("-", "_") in _SENSITIVE:
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: _hidden(inner, held) for inner, held in value.items()}
    return value


class _Console:
    """Lines for people, the role first, as several roles share one terminal."""

    def __init__(self, output: TextIO) -> None:
        # The prettier tracebacks show local variables, secrets among them.
        self._renderer = structlog.dev.ConsoleRenderer(
            colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )

    def __call__(self, logger: Any, method: str, entry: MutableMapping[str, Any]) -> str:
        return f"{entry.pop('role', ''):<8}| {self._renderer(logger, method, entry)}"


class _Role:
    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(
        self, _logger: object, _method: str, entry: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        entry.setdefault("role", self._role)
        return entry


class JsonLines:
    """Turns entries into lines of JSON, and takes lines that were put together elsewhere."""

    def __init__(self, output: TextIO, role: str) -> None:
        self._output = output
        self._raw = getattr(output, "buffer", None)
        self.role_json = msgspec.json.encode(role)

    def __call__(self, _logger: object, _method: str, entry: MutableMapping[str, Any]) -> str:
        return _encode(entry).decode()

    def write(self, line: bytes) -> None:
        """Write a whole line, which ends with its line break; nothing in it is looked at for secrets."""
        if self._raw is None:
            self._output.write(line.decode())
            self._output.flush()
        else:
            self._raw.write(line)
            self._raw.flush()


def json_lines() -> JsonLines | None:
    """Return where whole lines of JSON go; None where logs are for people, or were never set up."""
    last = structlog.get_config()["processors"][-1]
    return last if isinstance(last, JsonLines) else None
