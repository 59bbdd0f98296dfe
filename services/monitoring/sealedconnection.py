"""A connection in TLS whose records are opened many at a time: a shipper sends each line in a record of its own.

``ssl``'s own sockets read one record after the other, and so a collector would write and confirm each line by itself.
"""

import socket
import ssl
from collections.abc import Sequence

BLOCK = 2**18


class Sealed:
    """The collector's end. Its shipper has shown a certificate with one of the names."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, names: Sequence[str]) -> None:
        """Raises OSError when the other end shows none."""
        self._connection = connection
        self._come, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._going, server_side=True)
        try:
            self._greet()
        finally:  # which says why, when it fails
            self._send()
        shown = self._tls.getpeercert() or {}
        own = [str(entry[1]) for entry in shown.get("subjectAltName", ()) if entry[0] == "DNS"]
        if not set(own) & set(names):
            raise OSError(f"{', '.join(own) or 'a certificate without a name'}: no shipper")

    def _greet(self) -> None:
        while True:
            try:
                return self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send()
                if not self._receive(BLOCK):
                    raise OSError("it went without a greeting") from None

    def recv(self, most: int) -> bytes:
        """All that has come; nothing at its end."""
        while self._receive(most):
            parts = []
            try:
                while part := self._tls.read(most):
                    parts.append(part)
            except ssl.SSLWantReadError:
                pass
            if parts:
                return b"".join(parts)
        return b""

    def sendall(self, content: bytes) -> None:
        self._tls.write(content)
        self._send()

    def _receive(self, most: int) -> bool:
        content = self._connection.recv(most)
        self._come.write(content)
        return bool(content)

    def _send(self) -> None:
        if content := self._going.read():
            self._connection.sendall(content)


def context(authority: str, proof: str) -> ssl.SSLContext:
    """TLS 1.3, and for those alone who show a certificate of this authority."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(proof, f"{proof}.key")
    made.load_verify_locations(authority)
    return made
