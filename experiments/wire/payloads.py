"""A packet's payload in a few words, as far as it can be read from outside."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import dns.exception
import dns.message
import dns.rdatatype

from topo.plan import BALANCER, DATABASE, PORTS, RESOLVER

TLS_TYPES = {20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application data"}
HANDSHAKES = {1: "ClientHello", 2: "ServerHello"}
HTTP_LINE = re.compile(rb"^(?:(?:GET|POST|HEAD|OPTIONS|PUT|DELETE) \S+ HTTP/1\.[01]|HTTP/1\.[01] \d{3}[^\r\n]*)")
COM_QUERY = 3
PROXY_V2, PROXY_HEADER = b"\r\n\r\n\x00\r\nQUIT\n", 16


def describe(payload: bytes, ports: set[int]) -> dict[str, Any]:
    """{} when nothing is recognised, else {"kind": "dns"|"tls"|"http"|"sql", "text", ...}."""
    if PORTS[RESOLVER] in ports:
        return _dns(payload)
    if PORTS[BALANCER] in ports:
        return _tls(payload)
    if match := HTTP_LINE.match(payload):
        return {"kind": "http", "text": match[0].decode("latin-1").strip()}
    if PORTS[DATABASE] in ports and payload[1:3] in (b"\x03\x01", b"\x03\x03"):
        return _tls(payload)
    if PORTS[DATABASE] in ports and len(payload) > 5 and payload[3] == 0 and payload[4] == COM_QUERY:
        return {"kind": "sql", "text": payload[5:].decode("utf-8", "replace").strip("\0\1")[:300]}
    return {}


def _dns(payload: bytes) -> dict[str, Any]:
    with suppress(dns.exception.DNSException):
        message = dns.message.from_wire(payload)
        if not message.question:
            return {}
        question = message.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        answers = [item.to_text() for records in message.answer for item in records]
        is_answer = bool(message.flags & dns.flags.QR)
        return {"kind": "dns", "text": f"{kind} {name}", "answer": answers if is_answer else None}
    return {}


def _tls(payload: bytes) -> dict[str, Any]:
    if payload.startswith(PROXY_V2):
        length = int.from_bytes(payload[PROXY_HEADER - 2 : PROXY_HEADER], "big")
        then = _tls(payload[PROXY_HEADER + length :]).get("text")
        return {"kind": "proxy", "text": f"PROXY protocol{f', then {then}' if then else ''}"}
    if len(payload) < 6 or payload[0] not in TLS_TYPES or payload[1] != 3:
        return {"kind": "tls", "text": "application data (continued)"} if payload else {}
    text = TLS_TYPES[payload[0]]
    if payload[0] == 22:
        text = HANDSHAKES.get(payload[5], text)
    return {"kind": "tls", "text": text}
