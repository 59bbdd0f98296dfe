"""ModSecurity in this process: the library that nginx loads judges a request that is sent to nobody."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from dataclasses import dataclass, replace
from typing import BinaryIO

from services.waf import refusal, wafrules
from services.waf.refusal import Refusal
from topo.errors import MissingError

LIBRARY = "libmodsecurity.so.3"
ADDRESS = b"192.0.2.1"
_POINTERS = ("msc_init", "msc_create_rules_set", "msc_new_transaction_with_id")
_ARGUMENTS = {
    "msc_init": [],
    "msc_set_log_cb": [c_void_p, c_void_p],
    "msc_create_rules_set": [],
    "msc_rules_add": [c_void_p, c_char_p, POINTER(c_char_p)],
    "msc_new_transaction_with_id": [c_void_p, c_void_p, c_char_p, c_void_p],
    "msc_process_connection": [c_void_p, c_char_p, c_int, c_char_p, c_int],
    "msc_process_uri": [c_void_p, c_char_p, c_char_p, c_char_p],
    "msc_add_n_request_header": [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t],
    "msc_process_request_headers": [c_void_p],
    "msc_append_request_body": [c_void_p, c_char_p, c_size_t],
    "msc_process_request_body": [c_void_p],
    "msc_process_logging": [c_void_p],
    "msc_intervention": [c_void_p, c_void_p],
    "msc_transaction_cleanup": [c_void_p],
}
_QUIET = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)(lambda _, __: None)


@dataclass(frozen=True)
class JudgedRequest:
    """A request as the firewall is given it; ``target`` as it stands in the request line."""

    method: str
    target: str
    headers: tuple[tuple[str, str | bytes], ...] = ()
    body: bytes = b""
    version: str = "1.1"


class _Intervention(ctypes.Structure):
    _fields_ = (("status", c_int), ("pause", c_int), ("url", c_char_p), ("log", c_char_p), ("disruptive", c_int))


@dataclass
class Engine:
    """Rules, loaded. ``log``: the audit log that they name."""

    library: ctypes.CDLL
    modsecurity: int
    rules: int
    log: BinaryIO

    def status(self, request: JudgedRequest) -> int:
        """The status with which it is refused; 0 for a request that passes."""
        return self._judged(request, explained=False)

    def refusal(self, request: JudgedRequest) -> Refusal | None:
        """The refusal, with its reason; None for a request that passes."""
        status = self._judged(request, explained=True)
        lines = self.log.read().splitlines()
        return replace(refusal.of_audit(lines[-1]), code=status) if status else None

    def _judged(self, request: JudgedRequest, *, explained: bool) -> int:
        library = self.library
        made = library.msc_new_transaction_with_id(self.modsecurity, self.rules, b"try", None)
        transaction = c_void_p(made)
        try:
            status = self._steps(transaction, request)
            if explained:
                library.msc_process_logging(transaction)
            return status
        finally:
            library.msc_transaction_cleanup(transaction)

    def _steps(self, transaction: c_void_p, request: JudgedRequest) -> int:
        """As nginx takes them: connection, request line and headers, body."""
        library = self.library
        library.msc_process_connection(transaction, ADDRESS, 1234, b"127.0.0.1", 80)
        library.msc_process_uri(transaction, _bytes(request.target), _bytes(request.method), _bytes(request.version))
        for name, value in request.headers:
            key, content = _bytes(name), _bytes(value)
            library.msc_add_n_request_header(transaction, key, len(key), content, len(content))
        library.msc_process_request_headers(transaction)
        if status := self._intervention(transaction):
            return status
        library.msc_append_request_body(transaction, request.body, len(request.body))
        library.msc_process_request_body(transaction)
        return self._intervention(transaction)

    def _intervention(self, transaction: c_void_p) -> int:
        seen = _Intervention(200, 0, None, None, 0)
        return seen.status if self.library.msc_intervention(transaction, byref(seen)) and seen.disruptive else 0


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


@contextmanager
def engine(rules: Iterable[str] | None = None) -> Iterator[Engine]:
    """An engine with the firewall's rules, or with others. Raises MissingError where there is no ModSecurity."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise MissingError(f"{error} (package: libnginx-mod-http-modsecurity); run: sudo ./foobar") from None
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, c_void_p if name in _POINTERS else c_int
    with open(os.memfd_create("waf.log"), "rb") as log:
        yield _loaded(library, log, rules or (wafrules.rules(f"/proc/self/fd/{log.fileno()}", "/tmp"),))


def _loaded(library: ctypes.CDLL, log: BinaryIO, texts: Iterable[str]) -> Engine:
    modsecurity, rules = library.msc_init(), library.msc_create_rules_set()
    library.msc_set_log_cb(modsecurity, ctypes.cast(_QUIET, c_void_p))
    for text in texts:
        error = c_char_p()
        if library.msc_rules_add(rules, text.encode(), byref(error)) < 0:
            raise MissingError(f"ModSecurity does not take the rules: {(error.value or b'').decode(errors='replace')}")
    return Engine(library, modsecurity, rules, log)
