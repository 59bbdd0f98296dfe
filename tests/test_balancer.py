"""The balancer's configuration, obeyed by a real HAProxy on loopback in front of servers that do as the path says."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.haproxy import HAProxy, Limits
from services.secrets import fresh
from topo import wait
from topo.plan import SITE, WEB
from topo.plan import plan as plan_of
from topo.profile import Profile

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
PATIENCE_MS = 400  # in place of 4 s, so that the test need not wait
PROFILE = Profile(limits="on", health="fast")


class ObedientServer(ThreadingHTTPServer):
    """One of three servers; `asked` counts requests by path. A dead one accepts connections and says nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ObedientHandler)
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.mortal, self.dead, self.ended = False, False, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A check that HAProxy breaks off is no error."""

    def count(self, path: str) -> None:
        with self.lock:
            self.asked[path] += 1


class ObedientHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObedientServer

    def do_GET(self) -> None:
        self.server.count(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/hangs"):
            time.sleep(3)
        if self.server.mortal and self.path == "/deadly":
            self.server.dead = True
        if self.server.dead:
            self.server.ended.wait(10)
        self.send_response(int(self.path[1:4]) if self.path[1:4].isdigit() else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is logged."""


class RealBalancer:
    """A running HAProxy, where it listens, and its servers."""

    def __init__(self, http: int, https: int, servers: list[ObedientServer]) -> None:
        self.http, self.https, self.servers = http, https, servers
        self.trust = ssl.create_default_context()
        self.trust.check_hostname, self.trust.verify_mode = False, ssl.CERT_NONE

    def asked(self, path: str) -> int:
        return sum(server.asked[path] for server in self.servers)

    def connect(self) -> ssl.SSLSocket:
        return self.trust.wrap_socket(socket.create_connection(("127.0.0.1", self.https), timeout=10))

    def status(self, raw: str) -> int:
        """The status of what is said to it."""
        with self.connect() as connection:
            connection.sendall(raw.encode("latin-1"))
            return int(connection.recv(12)[9:])

    def get(self, path: str) -> int:
        return self.status(f"GET {path} HTTP/1.1\r\nHost: {SITE}\r\n\r\n")

    def post(self, path: str, body: str = "a=b") -> int:
        return self.status(f"POST {path} HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: {len(body)}\r\n\r\n{body}")


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBalancer]:
    with running(tmp_path_factory.mktemp("haproxy"), PATIENCE_MS) as started:
        yield started


@contextmanager
def running(folder: Path, patience_ms: int) -> Iterator[RealBalancer]:
    """The balancer in front of three servers, with another patience for answers."""
    plan = plan_of(PROFILE)
    with ExitStack() as stack:
        http_port, https_port = stack.enter_context(reserved()), stack.enter_context(reserved())
        servers = [stack.enter_context(ObedientServer()) for _ in plan.hosts_of(WEB)]
        ports = {80: http_port, 443: https_port}
        addresses = {
            f"{host.ip}:80": f"127.0.0.1:{server.server_port}"
            for host, server in zip(plan.hosts_of(WEB), servers, strict=True)
        }
        for file in HAProxy("lb", plan, PROFILE, fresh(plan, PROFILE)).files():
            text = file.text.replace("/run/haproxy", str(folder)).replace("server 4s", f"server {patience_ms}ms")
            text = re.sub(r"bind :(\d+)", lambda found: f"bind {address(ports.get(int(found[1])), folder)}", text)
            text = re.sub(r"10\.0\.3\.\d+:80\b", lambda found: addresses[found[0]], text)
            (folder / Path(file.path).name).write_text(text)
        started = RealBalancer(http_port, https_port, servers)
        with subprocess.Popen(
            ("haproxy", "-db", "-f", str(folder / "haproxy.cfg")), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                wait.until(lambda: serves(started, process), what="HAProxy ready", seconds=20)
                yield started
            finally:
                process.kill()
        for server in servers:
            server.ended.set()
            server.shutdown()


class reserved:
    """A port of loopback that nobody else gets while it is wanted: bound here, shared with HAProxy's own socket."""

    def __enter__(self) -> int:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(("127.0.0.1", 0))
        return int(self.socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def address(port: int | None, folder: Path) -> str:
    """The listener of a port that is tested; of any other a socket that nobody else's can meet."""
    return f"127.0.0.1:{port}" if port else f"unix@{folder}/{time.monotonic_ns()}"


def serves(balancer: RealBalancer, process: subprocess.Popen[bytes]) -> str | None:
    assert process.poll() is None, process.stdout and process.stdout.read()
    try:
        return None if (status := balancer.get("/")) == 200 else f"status {status}"
    except OSError as error:
        return str(error)


def test_what_fails_everywhere_fails_soon_and_then_once(balancer: RealBalancer) -> None:
    began = time.monotonic()
    assert balancer.get("/500") == 500
    assert time.monotonic() - began < 2
    first = balancer.asked("/500")
    assert 1 < first <= 101
    for _ in range(5):
        assert balancer.get("/500") == 500
    assert balancer.asked("/500") == first + 5
    assert balancer.get("/503") == 503, "another page is asked again as ever"
    assert balancer.asked("/503") > 1


@pytest.mark.parametrize(("path", "status"), [("/hangs", 504), ("/504", 504), ("/404", 404)])
def test_what_took_too_long_is_not_asked_again(balancer: RealBalancer, path: str, status: int) -> None:
    began = time.monotonic()
    assert balancer.get(path) == status
    assert time.monotonic() - began < PATIENCE_MS / 1000 + 1
    assert balancer.asked(path) == 1


def test_a_request_that_could_happen_twice_is_asked_once(balancer: RealBalancer) -> None:
    assert balancer.post("/502") == 502
    assert balancer.asked("/502") == 1


@pytest.mark.parametrize(("method", "at_the_dead_one", "asked"), [("GET", 200, 4), ("POST", 502, 3)])
def test_what_a_server_held_when_it_died_is_asked_again_if_it_may_be(
    method: str, at_the_dead_one: int, asked: int, tmp_path: Path
) -> None:
    with running(tmp_path, 10_000) as balancer:
        balancer.servers[0].mortal = True
        ask = balancer.get if method == "GET" else balancer.post
        with ThreadPoolExecutor(3) as pool:
            statuses = sorted(pool.map(ask, ["/deadly"] * 3))
        assert balancer.servers[0].dead
        assert balancer.servers[0].asked["/deadly"] == 1
        assert (statuses, balancer.asked("/deadly")) == ([200, 200, at_the_dead_one], asked)


@pytest.mark.parametrize("host", [SITE, "evil.example", "evil.example:80"])
def test_the_redirect_names_the_site_whoever_was_asked_for(balancer: RealBalancer, host: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", balancer.http, timeout=10)
    connection.request("GET", "/messages?before=7", headers={"Host": host})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{SITE}/messages?before=7")


@pytest.mark.parametrize(
    ("version", "header", "status"),
    [
        ("HTTP/1.1", "User-Agent: a  b\tc", 200),
        ("HTTP/1.0", "User-Agent: a", 200),
        ("HTTP/9.9", "User-Agent: a", 400),
        ("HTTP/1.2", "User-Agent: a", 400),
        ("HTTP/1.1", "User-Agent: a\r\n b", 400),
        ("HTTP/1.1", "User-Agent: a\r\n\tb", 400),
        ("HTTP/1.1", "User_Agent: a", 403),
        ("HTTP/1.1", "Content-Length: 1\r\nContent-Length: 2", 400),
        ("HTTP/1.1", f"Content-Length: {Limits().body + 1}\r\n\r\n{'x' * (Limits().body + 1)}", 413),
        ("HTTP/1.1", "\r\n".join(f"X-{number}: {'x' * 4000}" for number in range(6)), 431),
    ],
)
def test_strict_http(balancer: RealBalancer, version: str, header: str, status: int) -> None:
    method = "POST" if "Content-Length" in header else "GET"
    assert balancer.status(f"{method} / {version}\r\nHost: {SITE}\r\n{header}\r\n\r\n") == status


def test_a_slow_body_reaches_no_server(balancer: RealBalancer) -> None:
    with balancer.connect() as slow:
        slow.sendall(f"POST /slow HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 9000\r\n\r\n{'x' * 8000}".encode())
        assert balancer.get("/") == 200
        assert balancer.asked("/slow") == 0
        slow.sendall(b"x" * 1000)
        assert slow.recv(12).endswith(b"200")


# a connection that is refused before TLS begins on it, Python leaves to the garbage collector, which says so
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_one_address_holds_so_many_connections(balancer: RealBalancer) -> None:
    held = [socket.create_connection(("127.0.0.1", balancer.https), timeout=10) for _ in range(Limits().connections)]
    try:
        with pytest.raises(OSError, match=r".*"):
            balancer.get("/")
    finally:
        for connection in held:
            connection.close()
    wait.until(lambda: let_in(balancer), what="let in again", seconds=10)


def let_in(balancer: RealBalancer) -> str | None:
    try:
        return None if balancer.get("/") == 200 else "not well"
    except OSError as error:
        return str(error)


def test_one_address_gets_so_many_log_ins(balancer: RealBalancer) -> None:
    """However the page's name is written; other pages are not log-ins."""
    names = ("/login", "/%6cogin", "//login", "/%2flogin", "/login?a=b")  # all of them the same page to the application
    statuses = [balancer.post(names[number % len(names)]) for number in range(Limits().passwords + 5)]
    assert statuses == [200] * Limits().passwords + [429] * 5
    assert balancer.post("/signup") == 429
    assert balancer.post("/messages") == balancer.get("/login") == 200


@pytest.mark.parametrize(("curve", "agreed"), [("X25519", True), ("P-256", True), ("X448", False), ("P-521", False)])
def test_curves_outside_of_the_profile_are_refused(balancer: RealBalancer, curve: str, agreed: bool) -> None:
    done = subprocess.run(
        ("openssl", "s_client", "-connect", f"127.0.0.1:{balancer.https}", "-groups", curve),
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert (done.returncode == 0) is agreed
