"""The parts around an experiment: the engine, the run's folder, reading captures and pages. No root, no network."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pcaps
import pytest
from fakes import SteadyTestbed
from pcaps import CLIENT, SERVER
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import wrpcap

from experiments import __main__ as command
from experiments.catalog import EXPERIMENTS
from experiments.engine import folder, report, runner
from experiments.engine.base import Experiment
from experiments.engine.evidence import Evidence
from experiments.engine.run import Run
from experiments.engine.verdict import Verdict
from experiments.instruments.visit import Page
from experiments.journey.experiment import Journey
from experiments.wire import payloads
from experiments.wire.pcap import frames
from topo.errors import UsageError
from topo.folders import opened
from topo.profile import SEED

RECORDED = json.loads((Path(__file__).parent / "data" / "journey.json").read_text())


@dataclass(frozen=True, kw_only=True)
class GuessEvidence(Evidence):
    number: int | None


class Guess(Experiment[GuessEvidence]):
    """An experiment that measures what it is told to."""

    evidence = GuessEvidence

    name = "guess"
    claim = "the number is small"

    def __init__(self, number: int | None = 1, error: BaseException | None = None) -> None:
        self.number = number
        self.error = error

    def measure(self, testbed: Any, run: Run) -> GuessEvidence:
        run.folder.write("made.txt", "by measuring\n")
        if self.error:
            raise self.error
        return GuessEvidence(number=self.number)

    def judge(self, evidence: GuessEvidence) -> Verdict:
        number: Any = evidence.number
        return Verdict(number < 10, f"it is {number}", {"number": number})

    def show(self, evidence: GuessEvidence, verdict: Verdict) -> str:
        return f"shown {evidence.number}"

    def page(self, evidence: GuessEvidence) -> str:
        return "<p>paged</p>"


pytestmark = pytest.mark.usefixtures("impatient")


def run(experiment: Experiment[Any], testbed: SteadyTestbed, runs: Path) -> tuple[dict[str, Any], Path]:
    return runner.run(experiment, testbed, runs)  # type: ignore[arg-type]


def test_a_completed_run_saves_everything(tmp_path: Path) -> None:
    result, path = run(Guess(3), SteadyTestbed(True, True), tmp_path)
    saved = folder.read(path, folder.RESULT)
    assert saved == result
    assert set(saved) == {
        "schema", "experiment", "claim", "profile", "seed", "repeat", "options", "status", "steady",
        "verdict", "provenance", "started", "duration_s",
    }  # fmt: skip
    assert (saved["status"], saved["steady"]) == ("completed", {"before": True, "after": True})
    assert saved["verdict"] == {"holds": True, "because": "it is 3", "numbers": {"number": 3}}
    assert set(saved["provenance"]) == {"commit", "dirty", "versions", "argv", "kernel", "cpus", "datapath"}
    evidence = folder.read(path, folder.EVIDENCE)
    assert set(evidence) == {"schema", "number", "timeline", "machine", "steady", "disturbances"}
    assert evidence["number"] == 3
    assert "<p>paged</p>" in (path / folder.REPORT).read_text()
    assert path.parent == tmp_path / "guess"


def test_a_claim_that_fails_is_a_completed_run(tmp_path: Path) -> None:
    result, _ = run(Guess(30), SteadyTestbed(True, True), tmp_path)
    assert (result["status"], result["verdict"]["holds"]) == ("completed", False)


def test_a_testbed_that_is_not_steady_is_refused_and_unknown(tmp_path: Path) -> None:
    result, path = run(Guess(), SteadyTestbed(False), tmp_path)
    assert (result["status"], result["verdict"]["holds"]) == ("refused", None)
    assert "srv1/web: died" in result["verdict"]["because"]
    assert not (path / "made.txt").exists()


@pytest.mark.parametrize("error", [RuntimeError("broke"), KeyboardInterrupt()])
def test_what_breaks_while_measuring_is_aborted_and_goes_on(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        run(Guess(error=error), SteadyTestbed(True, True), tmp_path)
    (path,) = (tmp_path / "guess").iterdir()
    assert folder.read(path, folder.RESULT)["status"] == "aborted"
    assert (path / "made.txt").exists()


def test_a_judge_that_throws_is_unknown(tmp_path: Path) -> None:
    result, _ = run(Guess(None), SteadyTestbed(True, True), tmp_path)
    assert (result["status"], result["verdict"]["holds"]) == ("completed", None)


@pytest.mark.parametrize(
    ("numbers", "code"), [((1,), 0), ((1, 30), 1), ((1, None), 2), ((30, None), 1), ((None, 30), 1)]
)
def test_the_exit_code_is_the_worst_verdicts(tmp_path: Path, numbers: tuple[int | None, ...], code: int) -> None:
    experiments = [Guess(number) for number in numbers]
    assert runner.run_all(experiments, SteadyTestbed(True), tmp_path) == code  # type: ignore[arg-type]


def test_results_are_for_everyone_to_read(tmp_path: Path) -> None:
    _, path = run(Guess(), SteadyTestbed(True, True), tmp_path)
    assert path.stat().st_mode & 0o055 == 0o055
    assert all(each.stat().st_mode & 0o044 == 0o044 for each in path.iterdir())


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    assert folder.make(tmp_path, "guess") != folder.make(tmp_path, "guess")


def test_a_folder_that_cannot_be_made_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--runs"):
        folder.make(tmp_path / "file", "guess")


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("{", "not JSON")])
def test_a_folder_that_cannot_be_read_names_the_file(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / folder.RESULT).write_text(content)
    with pytest.raises(UsageError, match=said):
        folder.read(tmp_path, folder.RESULT)


# --- judging again ---------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The folder of a real run."""
    result = {"experiment": "journey", "profile": SEED.as_dict(), "status": "completed"}
    folder.write(opened(tmp_path), folder.RESULT, result)
    folder.write(opened(tmp_path), folder.EVIDENCE, RECORDED)
    return tmp_path


def test_judge_gives_the_verdict_again(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["judge", str(recorded)]) == 0
    assert "verdict: holds" in capsys.readouterr().out


def test_judge_writes_nothing(recorded: Path) -> None:
    before = {each.name: each.stat().st_mtime_ns for each in recorded.iterdir()}
    command.main(["judge", str(recorded)])
    assert {each.name: each.stat().st_mtime_ns for each in recorded.iterdir()} == before


def test_one_changed_byte_that_matters_changes_the_verdict(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (recorded / folder.EVIDENCE).read_text()
    changed = re.sub(r'("answer": \[\s*"10\.0\.2\.1)0', r"\g<1>1", text)
    assert changed != text
    (recorded / folder.EVIDENCE).write_text(changed)
    assert command.main(["judge", str(recorded)]) == 1
    assert "step 3" in capsys.readouterr().out


def test_judge_as_json(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["judge", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["holds"] is True


def test_judging_what_is_no_run_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["judge", str(tmp_path)]) == 64
    assert "result.json" in capsys.readouterr().err


def test_list_names_each_experiment_with_its_claim(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["list"]) == 0
    listed = {tuple(line.split(None, 1)) for line in capsys.readouterr().out.splitlines()}
    assert listed == {(each.name, each.claim) for each in EXPERIMENTS}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "jorney"], "did you mean journey?"),
        (["lst"], "did you mean list?"),
        (["run"], "NAME"),
        (["run", "journey", "--seed", "x"], "--seed x: must be a whole number"),
        (["run", "journey", "--repeat", "0"], "--repeat 0: must be a whole number from 1"),
        (["run", "journey", "--repeat", "5"], "--repeat 5: journey measures once and has nothing to repeat"),
        (["run", "journey", "--junit", "/no/such/folder/x.xml"], "--junit /no/such/folder: No such file or directory"),
        (["run", "journey", "--layout", "tiered"], "not built yet"),
        (["run", "journey", "--balance", "random"], "roundrobin, leastconn, source"),
    ],
)
def test_bad_usage_of_experiments(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(words) == 64
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


# --- packets ---------------------------------------------------------------------------------------------------

A, B = "10.0.1.10", "10.0.2.10"


def capture(tmp_path: Path, *packets: Any) -> Path:
    file = tmp_path / "some.pcap"
    wrpcap(str(file), [Ether() / packet for packet in packets])
    return file


def test_frames_keep_wiresharks_numbers_and_leave_out_bare_acknowledgements(tmp_path: Path) -> None:
    file = capture(
        tmp_path,
        IP(src=A, dst=B) / TCP(sport=4000, dport=80, flags="S"),
        IP(src=B, dst=A) / TCP(sport=80, dport=4000, flags="A"),
        IP(src=A, dst=B) / TCP(sport=4000, dport=80, flags="PA") / b"GET / HTTP/1.1\r\n\r\n",
        IP(src=A, dst=B) / UDP(sport=5000, dport=53) / b"hello",
        ARP(psrc=A, pdst=B),
    )
    found = frames(file)
    assert [frame.number for frame in found] == [1, 3, 4, 5]
    assert [frame.proto for frame in found] == ["tcp", "tcp", "udp", "arp"]
    assert found[1].payload == b"GET / HTTP/1.1\r\n\r\n"
    assert (found[1].src, found[1].dst) == (f"{A}:4000", f"{B}:80")


def test_padding_is_not_payload(tmp_path: Path) -> None:
    packet = Ether() / IP(src=A, dst=B, len=40) / TCP(sport=1, dport=2, flags="R") / (b"\0" * 6)
    file = tmp_path / "some.pcap"
    wrpcap(str(file), [packet])
    assert frames(file)[0].payload == b""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "parts"), [(0xA1B2C3D4, 1e-6), (0xA1B23C4D, 1e-9)])
def test_times_are_right_in_files_of_micro_and_of_nanoseconds(
    tmp_path: Path, order: str, magic: int, parts: float
) -> None:
    file = tmp_path / "some.pcap"
    file.write_bytes(pcaps.pcap([pcaps.tcp(CLIENT, SERVER, 1, b"x")] * 3, order, magic))
    assert [frame.time for frame in frames(file)] == pytest.approx([1 + number * 1000 * parts for number in range(3)])


def test_pcapng_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.pcap").write_bytes(b"\x0a\x0d\x0d\x0a" + bytes(60))
    with pytest.raises(UsageError, match=r"no pcap file \(pcapng is not read: capture with dumpcap -P\)"):
        frames(tmp_path / "some.pcap")


def test_an_empty_capture_has_no_frames(tmp_path: Path) -> None:
    assert frames(capture(tmp_path)) == []


@pytest.mark.parametrize(
    ("payload", "port", "kind", "text"),
    [
        (bytes.fromhex("160301020001"), 443, "tls", "ClientHello"),
        (bytes.fromhex("160303007a02"), 443, "tls", "ServerHello"),
        (bytes.fromhex("170303001341"), 443, "tls", "application data"),
        (b"GET /messages HTTP/1.1\r\nhost: x\r\n", 80, "http", "GET /messages HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n", 80, "http", "HTTP/1.1 200 OK"),
        (b"\x09\0\0\0\x03SELECT 1", 3306, "sql", "SELECT 1"),
        (b"\x09\0\0\0\x04SELECT 1", 3306, None, None),
        (b"nothing known", 80, None, None),
        (b"\x00\x01", 53, None, None),
    ],
)
def test_what_a_payload_says(payload: bytes, port: int, kind: str | None, text: str | None) -> None:
    told = payloads.describe(payload, {port, 40000})
    assert (told.get("kind"), told.get("text")) == (kind, text)


def test_dns_questions_and_answers_are_told_apart() -> None:
    import dns.message
    import dns.rrset

    question = dns.message.make_query("www.foobar.com", "A")
    answer = dns.message.make_response(question)
    answer.answer.append(dns.rrset.from_text("www.foobar.com.", 60, "IN", "A", B))
    assert payloads.describe(question.to_wire(), {53}) == {"kind": "dns", "text": "A www.foobar.com", "answer": None}
    assert payloads.describe(answer.to_wire(), {53})["answer"] == [B]


# --- pages -----------------------------------------------------------------------------------------------------

PAGE = """
<html><head><title>Board</title><link rel="stylesheet" href="/s.css"><script src="/a.js">var x = "no";</script></head>
<body>
<form action="/logout"><input name="csrf_token" value="one"></form>
<img src="/l.svg"><p>Hello &amp; welcome</p>
<form action="/messages"><input name="csrf_token" value="two"><textarea name="message">old</textarea></form>
</body></html>
"""


def test_a_page_is_read_as_a_browser_reads_it() -> None:
    page = Page(PAGE)
    assert page.title == "Board"
    assert page.assets == ["/s.css", "/a.js", "/l.svg"]
    assert "Hello & welcome" in page.text
    assert "var x" not in page.text


def test_the_right_form_is_found_with_its_own_hidden_fields() -> None:
    form = Page(PAGE).form_with("message")
    assert (form.action, form.fields["csrf_token"]) == ("/messages", "two")
    with pytest.raises(LookupError, match="password"):
        Page(PAGE).form_with("password")


# --- the report ------------------------------------------------------------------------------------------------


def test_the_report_is_one_self_contained_file(tmp_path: Path) -> None:
    _, path = run(Guess(3), SteadyTestbed(True, True), tmp_path)
    html = report.write(Guess(3), opened(path)).read_text()
    assert "holds" in html
    assert "it is 3" in html
    assert not any(word in html for word in ('src="http', 'href="http', "@import", "url("))


def test_the_report_tells_what_the_evidence_says_now(recorded: Path) -> None:
    evidence = copy.deepcopy(RECORDED)
    evidence["sql"] = []
    folder.write(opened(recorded), folder.EVIDENCE, evidence)
    provenance = {
        "commit": "c",
        "dirty": False,
        "versions": {},
        "argv": ["x"],
        "kernel": "k",
        "cpus": 1,
        "datapath": "user",
    }
    result = {
        "profile": {}, "status": "completed", "steady": {"before": True, "after": True}, "started": "s",
        "duration_s": 1, "provenance": provenance, "experiment": "journey", "seed": 1,
    }  # fmt: skip
    folder.write(opened(recorded), folder.RESULT, result)
    assert "<b>unknown</b>" in report.write(Journey(), opened(recorded)).read_text()
