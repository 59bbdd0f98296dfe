"""Every address of the site and every static file, asked of the real application server with our worker."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import memorysite
import pytest
from malformedrequests import LoggedIn, malformed

from services.gunicorn import THREADS
from services.nginx import STATIC
from services.service import render
from services.site.passwords import HashQueue
from topo import wait

SECONDS = 30.0
FILES = {f"/static/{file.name}": file for file in sorted(STATIC.iterdir())}
FILES |= {f"/{name}": STATIC / name for name in ("favicon.ico", "robots.txt")}
PAGES = sorted(
    {rule.rule for rule in memorysite.app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments}
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """gunicorn with our configuration, listening on a socket that is handed in."""
    folder = tmp_path_factory.mktemp("gunicorn")
    config, log = folder / "gunicorn.conf.py", folder / "log"
    text = render("gunicorn.conf.py.j2", bind="127.0.0.1", port=0, threads=THREADS, access=folder / "access.log")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        handed = f'bind = "fd://{listener.fileno()}"\nworker_tmp_dir = "{folder}"\n'
        config.write_text(text + handed)
        with (
            log.open("w") as output,
            subprocess.Popen(
                (sys.executable, "-m", "gunicorn", "-c", str(config), "memorysite:app"),
                cwd=Path(__file__).parents[1],
                env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parent}"},
                pass_fds=(listener.fileno(),),
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                wait.until(lambda: ready(process, log), what="gunicorn ready", seconds=20)
                yield listener
            finally:
                process.send_signal(signal.SIGQUIT)
                process.wait(20)


def ready(process: subprocess.Popen[bytes], log: Path) -> str | None:
    assert process.poll() is None, log.read_text()
    return None if "Booting worker" in log.read_text() else log.read_text()


def ask(
    server: socket.socket, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """The answer, and that the connection can be used for another one."""
    connection = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1], timeout=SECONDS)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.request("GET", "/healthz")
        again = connection.getresponse()
        assert (again.status, b"srv2" in again.read()) == (200, True)
        return answer, body
    finally:
        connection.close()


@pytest.mark.parametrize("path", FILES)
def test_every_file_arrives_whole(server: socket.socket, path: str) -> None:
    answer, body = ask(server, path)
    assert (answer.status, body) == (200, FILES[path].read_bytes())
    answer, body = ask(server, path, Range="bytes=1-3")
    assert (answer.status, body) == (206, FILES[path].read_bytes()[1:4])
    answer, body = ask(server, path, "HEAD")
    assert (answer.status, body) == (200, b"")


def test_a_body_is_sent_when_the_server_says_so(server: socket.socket) -> None:
    """And "100 Continue" comes before the answer, not with it."""
    with socket.create_connection(server.getsockname(), timeout=SECONDS) as connection:
        connection.sendall(b"POST /messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(99) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"a=b")
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_health_is_answered_while_passwords_are_checked(server: socket.socket) -> None:
    """More log-ins at once than the server has threads: few are checked, the others are told, and a check gets in."""
    page, text = ask(server, "/login", **{"X-Forwarded-Proto": "https"})
    token = text.partition(b'name="csrf_token" value="')[2].partition(b'"')[0].decode()
    headers = {
        "Cookie": page.headers["Set-Cookie"].partition(";")[0],
        "Referer": "https://www.foobar.com/login",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "www.foobar.com",
        "Content-Type": "application/x-www-form-urlencoded",
    }

    def log_in(number: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1], timeout=SECONDS)
        connection.request("POST", "/login", f"name=nobody&password={number}&csrf_token={token}", headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    with ThreadPoolExecutor(16) as attackers:
        answers = [attackers.submit(log_in, number) for number in range(16)]
        wait.until(lambda: None if any(answer.done() for answer in answers) else "-", what="an answer", seconds=SECONDS)
        assert ask(server, "/healthz")[0].status == 200
        assert not all(answer.done() for answer in answers), "the check came too late to show anything"
    statuses = Counter(answer.result() for answer in answers)
    assert set(statuses) == {401, 429}
    assert statuses[401] >= 1 + HashQueue.WAITING


def test_malformed_requests_are_answered(server: socket.socket) -> None:
    for number in range(100):
        request = malformed(random.Random(number), LoggedIn())
        with socket.create_connection(server.getsockname(), timeout=SECONDS) as connection:
            connection.sendall(request.raw())
            connection.shutdown(socket.SHUT_WR)
            status = connection.recv(12)[9:]
            assert status < b"500" or status == b"501", request  # 501: an unknown transfer coding


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_answered(server: socket.socket, path: str) -> None:
    answer, body = ask(server, path)
    assert answer.status in (200, 405)
    assert len(body) == int(answer.headers["Content-Length"])
    assert ask(server, path, "HEAD")[0].status == answer.status
    assert ask(server, path, "DELETE")[0].status == 405
