"""The TLS that a listener offers: found out by greetings of our own, since no library speaks what is long forbidden.

A greeting offers one version, or some cipher suites, or one group; the server's answer says what it would take. An
empty key share makes a server of TLS 1.3 name the group that it wants, so that no key is ever computed.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

VERSIONS = {"SSLv3": 0x0300, "TLSv1.0": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
GROUPS = {
    0x0017: "P-256",
    0x0018: "P-384",
    0x0019: "P-521",
    0x001D: "X25519",
    0x001E: "X448",
    **{0x0100 + number: name for number, name in enumerate(("ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144"))},
    0x11EC: "X25519MLKEM768",
}
#: every suite that was ever given a number, but for those that are signals
OLD_SUITES = (*range(0x0001, 0x00C8), *range(0xC001, 0xC100), *range(0xCCA8, 0xCCAF))
NEW_SUITES = tuple(range(0x1301, 0x1306))
SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201)
HANDSHAKE, ALERT, SERVER_HELLO = 0x16, 0x15, 0x02
SELECTED_VERSION, KEY_SHARE = 43, 51
SECONDS = 3.0
#: MariaDB's protocol: its version, that it can switch to TLS, and the request to do so
PROTOCOL, CAN_TLS = 10, 0x0800
SSL_REQUEST = struct.pack("<IIIB23x", 1 << 24 | 32, 0x0000AA05 | CAN_TLS, 1 << 24, 33)
#: makes a listener that reads lines, and was sent none, answer
LINE = b"\r\n"

Connect = Callable[[], socket.socket]


@dataclass(frozen=True)
class TlsOffer:
    """``versions``: none where it speaks no TLS; ``certificate``: DER, empty where it did not show one."""

    versions: tuple[str, ...] = ()
    suites: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()
    certificate: bytes = b""


@dataclass(frozen=True)
class ServerHello:
    """A server's choice; ``group``: the one that a server of TLS 1.3 would compute a key in."""

    version: int
    suite: int
    group: int | None = None


class NoTlsError(Exception):
    """It answered with something that is no TLS."""


def offer(connect: Connect, name: str, prelude: bytes = b"", *, database: bool = False) -> TlsOffer:
    """Ask a listener for all that it would take. Raises OSError when it cannot be reached or says nothing at all."""
    asked = _Asked(connect, name, prelude, database)
    try:
        versions = tuple(version for version in VERSIONS if asked.takes(version))
    except NoTlsError:
        return TlsOffer()
    suites = [suite for version in versions for suite in asked.suites(version)]
    groups = tuple(asked.groups()) if "TLSv1.3" in versions else ()
    return TlsOffer(versions, tuple(suites), groups, asked.certificate() if versions else b"")


class _Asked:
    """Greetings to one listener, each on a connection of its own."""

    def __init__(self, connect: Connect, name: str, prelude: bytes, database: bool) -> None:
        self._connect = connect
        self._name = name
        self._prelude = prelude
        self._database = database

    def takes(self, version: str) -> bool:
        suites = NEW_SUITES if version == "TLSv1.3" else OLD_SUITES
        answer = self._greet(VERSIONS[version], suites, GROUPS)
        return answer is not None and answer.version == VERSIONS[version]

    def suites(self, version: str) -> Iterator[int]:
        """The suites that it takes of a version, by taking away those that it has chosen already."""
        left = list(NEW_SUITES if version == "TLSv1.3" else OLD_SUITES)
        while left and (answer := self._greet(VERSIONS[version], left, GROUPS)):
            if answer.suite not in left or answer.version != VERSIONS[version]:
                return
            left.remove(answer.suite)
            yield answer.suite

    def groups(self) -> Iterator[str]:
        for number, name in GROUPS.items():
            answer = self._greet(VERSIONS["TLSv1.3"], NEW_SUITES, (number,))
            if answer is not None and answer.group == number:
                yield name

    def certificate(self) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            closing(self._connected()) as connection,
            context.wrap_socket(connection, server_hostname=self._name) as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""

    def _connected(self) -> socket.socket:
        """A connection on which TLS may begin. Raises NoTlsError of a database that has none."""
        connection = self._connect()
        try:
            connection.settimeout(SECONDS)
            connection.sendall(self._prelude)
            if self._database:
                _switch_to_tls(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _greet(self, version: int, suites: Iterable[int], groups: Iterable[int]) -> ServerHello | None:
        with closing(self._connected()) as connection:
            connection.sendall(client_hello(version, suites, groups, self._name))
            return _answered(connection)


def _switch_to_tls(connection: socket.socket) -> None:
    greeting = connection.recv(256)
    if len(greeting) < 24 or greeting[4] != PROTOCOL:
        raise ConnectionError("the database sent no greeting")
    capabilities = greeting[greeting.index(0, 5) + 14 :][:2]  # after version, number of the connection, 8 bytes, a zero
    if not int.from_bytes(capabilities, "little") & CAN_TLS:
        raise NoTlsError
    connection.sendall(SSL_REQUEST)


def client_hello(version: int, suites: Iterable[int], groups: Iterable[int], name: str) -> bytes:
    """A greeting that offers one version, some suites and some groups, in one record."""
    new = version == VERSIONS["TLSv1.3"]
    legacy = min(version, VERSIONS["TLSv1.2"])
    host = name.encode()
    extensions = (
        _extension(0, _sized(2, b"\0" + _sized(2, host)))
        + _extension(10, _sized(2, _numbers(groups)))
        + _extension(11, b"\1\0")
        + _extension(13, _sized(2, _numbers(SIGNATURES)))
        + (_extension(43, _sized(1, _numbers((version,)))) + _extension(51, _sized(2, b"")) if new else b"")
    )
    body = (
        struct.pack(">H", legacy)
        + os.urandom(32)
        + _sized(1, os.urandom(32))
        + _sized(2, _numbers(suites))
        + b"\1\0"
        + _sized(2, extensions)
    )
    message = b"\1" + _sized(3, body)
    return struct.pack(">BH", HANDSHAKE, min(legacy, VERSIONS["TLSv1.0"])) + _sized(2, message)


def _numbers(numbers: Iterable[int]) -> bytes:
    return b"".join(struct.pack(">H", number) for number in numbers)


def _sized(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def _extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">H", kind) + _sized(2, content)


def _answered(connection: socket.socket) -> ServerHello | None:
    """The server's choice; None when it refuses. Raises NoTlsError, and TimeoutError when it says nothing."""
    try:
        head = _received(connection, 5)
    except TimeoutError:
        connection.sendall(LINE)
        head = _received(connection, 5)
    except ConnectionResetError:
        return None
    if not head:
        return None
    if head[0] not in (HANDSHAKE, ALERT) or head[1:2] != b"\3":
        raise NoTlsError
    if head[0] == ALERT:
        return None
    return server_hello(_received(connection, int.from_bytes(head[3:5], "big")))


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data


def server_hello(message: bytes) -> ServerHello:
    """Version, suite and group of a server's answer. Raises NoTlsError for anything else."""
    if message[:1] != bytes([SERVER_HELLO]) or len(message) < 42:
        raise NoTlsError
    version = int.from_bytes(message[4:6], "big")
    at = 39 + message[38]
    suite = int.from_bytes(message[at : at + 2], "big")
    group, at = None, at + 5
    while at + 4 <= len(message):
        kind, size = struct.unpack(">HH", message[at : at + 4])
        content = message[at + 4 : at + 4 + size]
        if kind == SELECTED_VERSION:
            version = int.from_bytes(content, "big")
        elif kind == KEY_SHARE:
            group = int.from_bytes(content[:2], "big")
        at += 4 + size
    return ServerHello(version, suite, group)
