"""Start, attach, fail, stop: with real vLLM processes and, where only processes matter, with
real small children. Nothing may stay behind, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from processes import clean, cli, vllm_processes, wait_until

from rerank_kit import Server, errors, launch, registry
from rerank_kit.registry import ServerRecord
from rerank_kit.server import process_group, settings_for
from rerank_kit.server.server import stop_record
from rerank_kit.server.startup import STAGES, StartupReader

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time\\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\nprint('up', flush=True)\\ntime.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""


def test_a_second_launch_attaches_and_a_guest_does_not_stop_it(server: Server) -> None:
    """Another process (a notebook) attaches, calls stop, and the server lives on."""
    code = (
        "from rerank_kit import launch; s = launch('practice'); r = s.stop();"
        "print(s.record.pid, r.stopped, '|', r)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    pid, stopped, _, *words = done.stdout.split()
    assert (int(pid), stopped) == (server.record.pid, "False")
    assert server.record.is_alive()
    assert launch("practice").record.pid == server.record.pid
    assert " ".join(words) == (
        "practice server left running: it was started elsewhere. To end it: rerank-kit stop"
    )


def test_an_old_server_that_is_busy_for_some_seconds_is_attached_to(server: Server) -> None:
    """Its launch is longer ago than a launch may take: that is no reason to give it up."""
    record = server.record
    assert record is not None
    started_at = record.started_at
    record.started_at -= 3600
    record.save()
    busy = threading.Timer(4.0, os.kill, [record.pid, signal.SIGCONT])
    os.kill(record.pid, signal.SIGSTOP)
    try:
        busy.start()
        assert launch("practice").url == server.url
    finally:
        busy.cancel()
        os.kill(record.pid, signal.SIGCONT)
        record.started_at = started_at
        record.save()


def test_the_record_is_private_and_holds_the_promised_keys(server: Server) -> None:
    assert server.record.path.stat().st_mode & 0o077 == 0
    assert Path(server.record.log_path).stat().st_mode & 0o077 == 0
    assert {"url", "pid", "profile", "model", "state", "log_path"} <= set(server.record.public())


def test_the_server_listens_on_loopback_only(server: Server) -> None:
    group = process_group.members(server.record.pid)
    addresses = {
        connection.laddr.ip
        for process in group
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == server.record.port
    }
    assert addresses == {"127.0.0.1"}


def test_the_printed_command_is_what_runs(server: Server) -> None:
    words = psutil.Process(server.record.pid).cmdline()
    printed = server.command_line(server.record.port)
    for flag in [word for word in words if word.startswith("--") and word != "--model"]:
        assert flag in printed
    assert str(Path.home()) not in printed and "vllm serve" in printed


def test_startup_reader_follows_the_real_log_of_this_server(server: Server) -> None:
    whole = StartupReader(Path(server.record.log_path), "unknown start")
    assert whole.read(1.0).stage == STAGES[-1][0]


def test_startup_percent_never_runs_backwards(tmp_path: Path, server: Server) -> None:
    lines = Path(server.record.log_path).read_text(encoding="utf-8").splitlines()
    log = tmp_path / "growing.log"
    log.touch()
    reader = StartupReader(log, "unknown start")
    seen = []
    with log.open("a", encoding="utf-8") as file:
        for number, line in enumerate(lines[:200]):
            file.write(line + "\n")
            file.flush()
            seen.append(reader.read(float(number)).percent)
    assert seen == sorted(seen) and seen[-1] > 90


@pytest.mark.slow
def test_a_start_that_takes_too_long_is_ended(own_state: Path) -> None:
    with pytest.raises(errors.LaunchTimeout) as caught:
        launch("practice", timeout_seconds=2)
    assert isinstance(caught.value, TimeoutError)
    assert clean(own_state)


@pytest.mark.slow
def test_a_wrong_flag_is_explained_and_leaves_nothing(own_state: Path) -> None:
    with pytest.raises(errors.LaunchError) as caught:
        launch("practice", extra_args=("--no-such-flag",))
    assert "--no-such-flag" in caught.value.evidence + caught.value.log_tail
    assert clean(own_state)


@pytest.mark.parametrize("flag", ["--port", "--host=0.0.0.0", "--api-key", "--model"])
def test_flags_that_the_kit_sets_itself_are_refused(flag: str) -> None:
    with pytest.raises(errors.InputError, match="cannot be passed on"):
        settings_for("practice", extra_args=(flag, "x"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_launch_that_is_interrupted_leaves_nothing(own_state: Path, number: int) -> None:
    command = [sys.executable, "-m", "rerank_kit", "launch", "--profile", "practice"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: bool(vllm_processes(own_state)), 180)
    child.send_signal(number)
    _, error = child.communicate(timeout=300)
    assert child.returncode == 130 and "interrupted" in error
    assert clean(own_state)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_at_the_worst_moment_leaves_nothing(own_state: Path, name: str) -> None:
    """Story: a SIGTERM that came after the child was started and before anybody had written it
    down left a vLLM running that no command knew."""
    code = (
        "import os, signal, sys\nfrom rerank_kit import cli\n"
        "from rerank_kit.server import process_group\n"
        "def adopt_late(child, adopt=process_group.adopt):\n"
        f"    os.kill(os.getpid(), signal.{name})\n    adopt(child)\n"
        "process_group.adopt = adopt_late\n"
        "sys.exit(cli.main(['launch', '--profile', 'practice']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 130 and "interrupted" in done.stderr
    assert clean(own_state)


@pytest.mark.slow
def test_a_launch_that_is_killed_is_found_and_stopped(own_state: Path) -> None:
    """SIGKILL gives no chance to clean up: the state file still knows the server."""
    command = [sys.executable, "-m", "rerank_kit", "launch", "--profile", "practice"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Not at the first sign of its file: that is written before there is a process.
    wait_until(lambda: any(one.pid for one in registry.living()), 180)
    child.kill()
    child.wait()
    status = json.loads(cli("status", "--json").stdout)
    assert status["state"] == "starting" and psutil.pid_exists(status["pid"])
    assert cli("stop").returncode == 0
    assert clean(own_state)


@pytest.mark.full
def test_a_server_outlives_its_killed_kernel_and_the_next_one_owns_it(own_state: Path) -> None:
    code = "from rerank_kit import launch; import time; launch('practice'); print('up', flush=True); time.sleep(600)"  # noqa: E501
    kernel = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert kernel.stdout is not None and kernel.stdout.readline() == "up\n"
    (record,) = registry.living()
    kernel.kill()
    kernel.wait()
    again = launch("practice")
    assert again.record.pid == record.pid and again.owned
    report = again.stop()
    assert report.stopped and not report.survivors and "free" in report.details
    assert again.stop().stopped is False  # a second stop is harmless
    assert clean(own_state)


@pytest.mark.slow
def test_a_server_whose_launcher_died_before_it_was_written_down_is_found(own_state: Path) -> None:
    """Story: SIGKILL between the start of the process and the writing of its pid left a vLLM
    that neither status nor stop knew."""
    code = (
        "import os, signal, sys\nfrom rerank_kit import cli\n"
        "from rerank_kit.server import process_group\n"
        "process_group.adopt = lambda child: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.exit(cli.main(['launch', '--profile', 'practice']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: bool(vllm_processes(own_state)), 180)
    status = json.loads(cli("status", "--json").stdout)
    assert status["state"] == "starting" and status["pid"] in vllm_processes(own_state)
    assert cli("stop").returncode == 0
    assert clean(own_state)


@pytest.mark.slow
def test_a_launch_says_that_somebody_stopped_its_server(own_state: Path) -> None:
    command = [sys.executable, "-m", "rerank_kit", "launch", "--profile", "practice"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_until(lambda: any(one.pid for one in registry.living()), 180)
    assert cli("stop").returncode == 0
    _, error = child.communicate(timeout=300)
    assert child.returncode == 1 and "stopped by somebody" in error
    assert clean(own_state)


ORPHANING = """
import os, subprocess, sys, time
worker = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(worker, start_new_session=True)
subprocess.Popen(worker, start_new_session=True, env={}, stdout=open(sys.argv[1], "ab"))
print("up", flush=True)
time.sleep(600)
"""


def test_workers_that_outlive_their_server_are_known_and_ended(own_state: Path) -> None:
    """The main process is killed, workers in sessions of their own live on and hold memory. One
    shows no environment, as a process that gave itself a title: it is known by its log."""
    own_state.mkdir()
    log = own_state / "server.log"
    record = record_of(0, 0.0, port=7, log_path=str(log))
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANING, str(log)], stdout=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {registry.MARK_VARIABLE: record.mark},
    )  # fmt: skip
    process_group.adopt(parent)
    assert parent.stdout is not None and parent.stdout.readline() == "up\n"
    record.pid, record.created = parent.pid, psutil.Process(parent.pid).create_time()
    record.save()
    assert len(record.processes()) == 3
    parent.kill()
    wait_until(lambda: not record.is_alive(), 180)
    (found,) = registry.living()
    assert found.state == "broken" and len(found.processes()) == 2
    found.forget()  # a stop at this moment removes the file: the look that goes on ...
    assert registry._is_found(found) and not found.path.exists()  # ... does not bring it back
    found.save()
    assert stop_record(found).stopped
    assert registry.living() == [] and found.processes() == []


def test_ending_a_failed_start_leaves_the_newer_server_on_its_port_alone(own_state: Path) -> None:
    failed = record_of(0, 0.0, port=12)
    failed.save()
    me = psutil.Process()
    newer = record_of(me.pid, me.create_time(), port=12)
    newer.save()
    assert stop_record(failed).stopped
    (found,) = registry.living()
    assert (found.mark, found.state) == (newer.mark, newer.state)


def test_two_starts_within_a_second_have_logs_of_their_own(own_state: Path) -> None:
    """In one log, why the first ended would be read as the second one's reason."""
    logs = [registry.new_log("server", "8000.log", keep=9) for _ in range(2)]
    assert logs[0] < logs[1] and all(log.is_file() for log in logs)


def test_an_intent_without_a_process_is_forgotten(own_state: Path) -> None:
    """A launcher that was killed before it had started anything."""
    record = record_of(0, 0.0, port=8, started_at=time.time() - 60)
    record.save()
    assert registry.living() == [] and not record.path.exists()
    recent = record_of(0, 0.0, port=9, started_at=time.time())
    recent.save()  # its process may be between fork and exec: look again later
    assert registry.living() == [] and recent.path.exists()
    me = psutil.Process()
    starting = record_of(0, 0.0, port=10, started_at=1.0,
                         launcher_pid=me.pid, launcher_created=me.create_time())  # fmt: skip
    starting.save()
    assert registry.living() == [] and starting.path.exists()


def test_forgetting_a_server_spares_its_successor_on_the_port(own_state: Path) -> None:
    old, new = record_of(2**22 - 7, 0.0, port=11), record_of(2**22 - 7, 0.0, port=11)
    new.save()
    old.forget()
    assert new.path.exists()
    new.forget()
    assert not new.path.exists()


def test_half_written_state_of_a_killed_process_is_swept(own_state: Path) -> None:
    folder = own_state / "servers"
    folder.mkdir(parents=True)
    (folder / f"8000.{2**22 - 7}.tmp").write_text("{", encoding="utf-8")
    (folder / f"8001.{os.getpid()}.tmp").write_text("{", encoding="utf-8")
    registry.living()
    assert [path.name for path in folder.iterdir()] == [f"8001.{os.getpid()}.tmp"]


def test_a_state_folder_that_cannot_be_written_is_said_before_anything_starts(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_state.write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(errors.SetupError, match="state folder cannot be written"):
        launch("practice")
    done = cli("launch", "--profile", "practice")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    own_state.unlink()


def test_a_stubborn_group_with_a_grandchild_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killing only the parent leaves the grandchild; killing the group does not."""
    monkeypatch.setattr(process_group, "TERM_ROUNDS_SECONDS", (0.3, 0.3))
    child = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    process_group.adopt(child)
    assert child.stdout is not None
    assert {child.stdout.readline(), child.stdout.readline()} == {"ready\n", "up\n"}
    assert len(process_group.members(child.pid)) == 2
    assert process_group.end_group(child.pid) == []
    assert process_group.members(child.pid) == []


def record_of(pid: int, created: float, **changes: object) -> ServerRecord:
    fields = {
        "url": "http://127.0.0.1:1", "port": 1, "pid": pid, "created": created,
        "profile": "practice", "model": "m", "served_name": "m", "fingerprint": "f",
        "log_path": "none",
    } | changes  # fmt: skip
    return ServerRecord(**fields)  # type: ignore[arg-type]


def test_stop_makes_no_log_where_there_was_none(
    own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = record_of(2**22 - 7, 0.0, log_path="gone.log")
    record.save()
    assert stop_record(record).stopped
    assert not (tmp_path / "gone.log").exists()


def test_stale_records_are_forgotten(own_state: Path) -> None:
    """After a reboot the pid is gone or belongs to somebody else: never signal it."""
    me = psutil.Process()
    record_of(me.pid, me.create_time() - 3600, port=1).save()  # my pid, another process
    record_of(2**22 - 7, 0.0, port=2).save()
    (own_state / "servers" / "3.json").write_text("{half a re", encoding="utf-8")
    (own_state / "servers" / "4.json").write_text('{"from": "another version"}', encoding="utf-8")
    assert registry.living() == []
    assert list((own_state / "servers").glob("*.json")) == []
    mine = record_of(me.pid, me.create_time(), port=5)
    mine.save()
    newer = json.loads(mine.path.read_text(encoding="utf-8")) | {"key_of_a_newer_version": 1}
    mine.path.write_text(json.dumps(newer), encoding="utf-8")
    assert [record.port for record in registry.living()] == [5]


def test_a_stop_makes_no_log_where_there_is_none(
    own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: stopping a server whose log had been swept away left a file of one line in the
    current folder."""
    monkeypatch.chdir(tmp_path)
    record = record_of(0, 0.0, port=12)
    record.save()
    assert stop_record(record).stopped
    assert not (tmp_path / record.log_path).exists()


def test_a_reused_pid_is_not_stopped(own_state: Path) -> None:
    me = psutil.Process()
    handle = Server("http://127.0.0.1:1", "practice", "m",
                    record=record_of(me.pid, me.create_time() - 3600))  # fmt: skip
    assert handle.stop(force=True).stopped is False
    assert os.getpid() == me.pid  # still here
