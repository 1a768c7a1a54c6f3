"""A model's files: fetched, gone on with after a break, checked. The hub is a stand-in
(model_hub.py); huggingface_hub itself downloads from it, so it speaks as the real one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from model_hub import COMMIT, MB, Hub, contents, serving
from processes import cli, wait_until

from rerank_kit import errors, launch, machine, models, weights

BIG = "model-00001-of-00002.safetensors"
SIZE = 4 * MB


@pytest.fixture
def hub() -> Iterator[Hub]:
    files = {
        "config.json": b'{"architectures": ["Qwen3ForCausalLM"]}',
        "tokenizer/vocab.txt": "是 否 yes no\n".encode() * 50,
        "empty.txt": b"",
        BIG: os.urandom(SIZE),
        "model-00002-of-00002.safetensors": os.urandom(3000),
        "pytorch_model.bin": b"the same weights once more",
        ".gitattributes": b"*.safetensors filter=lfs",
    }
    with serving(Hub(files)) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of models of its own, and no settings of the user's."""
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE", "MODELSCOPE_ENDPOINT",
                 "VLLM_USE_MODELSCOPE", "HUGGINGFACE_HUB_CACHE"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return tmp_path / "home"


def wanted(hub: Hub) -> dict[str, bytes]:
    return {name: data for name, data in hub.files.items() if name != "pytorch_model.bin"}


# --- into a folder


def test_a_folder_has_every_file_with_a_list_that_sha256sum_reads(
    hub: Hub, home: Path, tmp_path: Path
) -> None:
    to = tmp_path / "model"
    done = cli("download", hub.name, "--hub", hub.url, "--to", str(to), "--json",
               "--price-per-hour", "2", "--currency", "CNY")  # fmt: skip
    told = json.loads(done.stdout)
    assert contents(to) == wanted(hub) and told["revision"] == COMMIT
    assert told["fetched_bytes"] == told["total_bytes"] > SIZE and 0 < told["cost"] < 1
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=to)
    assert checked.returncode == 0
    before = len(hub.asked)
    again = cli("download", hub.name, "--hub", hub.url, "--to", str(to), "--json")
    assert json.loads(again.stdout)["fetched_bytes"] == 0 and len(hub.asked) == before
    (to / BIG).write_bytes(b"x" * SIZE)  # of the right size, and wrong
    assert cli("verify", str(to)).returncode == 1
    mended = cli("download", hub.name, "--hub", hub.url, "--to", str(to), "--json")
    assert json.loads(mended.stdout)["fetched_bytes"] == SIZE and contents(to) == wanted(hub)


def test_a_download_that_is_killed_goes_on_where_it_was(
    hub: Hub, home: Path, tmp_path: Path
) -> None:
    """huggingface_hub 2.4 begins a file anew in a new process; that is money."""
    hub.bytes_per_second = MB / 2
    to = tmp_path / "model"
    words = ["download", hub.name, "--hub", hub.url, "--to", str(to), "--json"]
    child = subprocess.Popen([sys.executable, "-m", "rerank_kit", *words],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_until(lambda: child.poll() is not None or _part_bytes(to) > MB // 2, 180)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    had = _part_bytes(to)
    assert MB // 2 < had < SIZE and not (to / BIG).exists()
    hub.bytes_per_second = 0
    told = json.loads(cli(*words).stdout)
    assert hub.starts(BIG) == [0, had] and told["kept_bytes"] >= had
    assert told["fetched_bytes"] <= SIZE + 10_000 - had and contents(to) == wanted(hub)


def _part_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{BIG}.*.part"))


def test_ctrl_c_keeps_what_has_come_and_says_so(hub: Hub, home: Path, tmp_path: Path) -> None:
    hub.bytes_per_second = MB / 4
    to = tmp_path / "model"
    words = ["download", hub.name, "--hub", hub.url, "--to", str(to)]
    child = subprocess.Popen([sys.executable, "-m", "rerank_kit", *words], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    try:
        wait_until(lambda: child.poll() is not None or _part_bytes(to) > MB // 4, 180)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=300)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130 and "goes on from there" in out
    assert _part_bytes(to) > MB // 4


def test_lines_that_break_and_a_busy_hub_are_no_end(hub: Hub, home: Path, tmp_path: Path) -> None:
    hub.breaks[BIG] = [MB, MB, 10]  # the third before one piece is full
    hub.fails[BIG] = [503]
    hub.fails["config.json"] = [429]
    seen: list[weights.Progress] = []
    done = weights.download(hub.name, to=tmp_path / "m", hub=hub.url, on_progress=seen.append)
    assert contents(done.folder) == wanted(hub)
    starts = hub.starts(BIG)
    assert starts[:2] == [0, 0] and len(starts) == 5 and starts == sorted(starts)
    assert starts[-1] > 2 * MB - 3 * 2**16  # next to nothing came twice
    assert seen[-1].done_bytes == seen[-1].total_bytes == done.fetched_bytes


def test_a_hub_without_ranges_sends_it_all_anew(hub: Hub, home: Path, tmp_path: Path) -> None:
    hub.takes_ranges = False
    hub.breaks[BIG] = [MB]
    done = weights.download(hub.name, to=tmp_path / "m", hub=hub.url)
    assert contents(done.folder) == wanted(hub)


def test_wrong_bytes_are_noticed(hub: Hub, home: Path, tmp_path: Path) -> None:
    hub.spoils[BIG] = 1
    hub.spoils["config.json"] = 1  # whose checksum is git's own
    done = weights.download(hub.name, to=tmp_path / "m", hub=hub.url)
    assert contents(done.folder) == wanted(hub) and hub.starts(BIG) == [0, 0]
    hub.spoils[BIG] = 9
    words = ("download", hub.name, "--hub", hub.url, "--to", str(tmp_path / "n"), "--json")
    failed = cli(*words)
    said = json.loads(failed.stdout)["error"]
    assert failed.returncode == 1 and said["kind"] == "download" and "twice" in said["message"]
    assert not (tmp_path / "n" / BIG).exists()


@pytest.mark.parametrize("path", ["../out.txt", "/tmp/out.txt", "a/../../out.txt"])
def test_a_hub_does_not_choose_where_to_write(
    hub: Hub, home: Path, tmp_path: Path, path: str
) -> None:
    hub.files[path] = b"evil"
    with pytest.raises(errors.DownloadError, match="no path"):
        weights.download(hub.name, to=tmp_path / "m", hub=hub.url)


def test_no_room_is_said_before_it_begins(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room._replace(free=MB))
    with pytest.raises(errors.SetupError, match="are free"):
        weights.download(hub.name, to=tmp_path / "m", hub=hub.url)
    assert hub.starts(BIG) == []


# --- into the cache, with huggingface_hub


def test_huggingface_hub_itself_downloads_from_the_stand_in(hub: Hub, home: Path) -> None:
    hub.breaks[BIG] = [MB]
    folder = _library(hub, "")
    assert contents(folder) == hub.files and len(hub.starts(BIG)) == 2


def test_the_cache_is_the_one_that_vllm_looks_into(hub: Hub, home: Path) -> None:
    done = cli("download", hub.name, "--hub", hub.url, "--json")
    told = json.loads(done.stdout)
    assert hub.starts(BIG) == [0]  # not once more by the library
    folder = Path(told["folder"])
    assert contents(folder) == wanted(hub)
    assert _library(hub, "local_files_only=True, ignore_patterns=['*.bin']") == folder
    assert models.is_downloaded(hub.name)
    assert cli("verify", hub.name).returncode == 0
    blob = (folder / BIG).resolve()
    good = hub.files[BIG]
    blob.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    failed = cli("verify", hub.name, "--json")
    assert failed.returncode == 1 and json.loads(failed.stdout)["wrong"] == [BIG]


def _library(hub: Hub, options: str) -> Path:
    """snapshot_download of huggingface_hub, in a process of its own."""
    code = ("import sys; from huggingface_hub import snapshot_download; "
            f"print(snapshot_download(sys.argv[1], {options}))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, hub.name], capture_output=True, text=True,
                          env=os.environ | {"HF_ENDPOINT": hub.url}, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return Path(done.stdout.strip())


@pytest.mark.full
def test_a_model_that_was_downloaded_is_served_by_its_name(
    home: Path, own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models.practice_model_dir()
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with serving(Hub(files, name="own/practice-copy")) as hub:
        # In a process of its own: here the library may have been loaded as offline.
        done = cli("download", hub.name, "--hub", hub.url)
        assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with launch("practice", hub.name) as server:
        ranking = server.reranker().rank("cactus care", ["The train.", "Water a cactus."])
    assert ranking[0].text == "Water a cactus."


# --- which hub


def test_the_hub_is_chosen_by_one_setting(home: Path) -> None:
    def url(wanted: str = "", **environment: str) -> str:
        return weights.chosen_hub(wanted, environment).url

    assert url() == url("huggingface") == "https://huggingface.co"
    assert url(HF_ENDPOINT="https://hf-mirror.com/") == url("mirror") == "https://hf-mirror.com"
    assert url("huggingface", HF_ENDPOINT="http://inside:1") == "http://inside:1"
    assert url(VLLM_USE_MODELSCOPE="True") == url("modelscope") == "https://www.modelscope.cn"
    assert url("modelscope", MODELSCOPE_ENDPOINT="http://inside:2/") == "http://inside:2"
    with pytest.raises(errors.InputError, match="no hub"):
        url("elsewhere")


def test_modelscope_is_spoken_to_in_its_own_way(hub: Hub, home: Path, tmp_path: Path) -> None:
    hub.breaks[BIG] = [MB]
    environment = os.environ | {"MODELSCOPE_ENDPOINT": hub.url}
    words = ("download", hub.name, "--hub", "modelscope", "--json")
    done = cli(*words, "--to", str(tmp_path / "m"), env=environment)
    assert json.loads(done.stdout)["hub"] == hub.url and contents(tmp_path / "m") == wanted(hub)
    assert len(hub.starts(BIG)) == 2
    without = cli(*words, env=environment)
    assert without.returncode == 2 and "--to" in json.loads(without.stdout)["error"]["hint"]


def test_a_token_goes_to_its_hub_and_not_to_the_store_it_points_to(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.needs_token = "hf_of-a-test"
    with pytest.raises(errors.DownloadError, match="401") as failure:
        weights.download(hub.name, to=tmp_path / "m", hub=hub.url)
    assert "HF_TOKEN" in failure.value.hint
    monkeypatch.setenv("HF_TOKEN", hub.needs_token)
    weights.download(hub.name, to=tmp_path / "m", hub=hub.url)
    sent = {name: given for method, name, _, given in hub.asked if method == "GET"}
    assert sent["config.json"] == f"Bearer {hub.needs_token}" and sent[BIG] == ""


def test_hubs_that_give_nothing_are_told_apart(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failure(model: str, url: str) -> errors.RerankKitError:
        with pytest.raises(errors.RerankKitError) as caught:
            weights.download(model, to=tmp_path / "m", hub=url)
        return caught.value

    assert "404" in failure("nobody/nothing", hub.url).message
    nobody = f"http://127.0.0.1:{machine.free_port()}"
    assert "cannot be reached" in failure(hub.name, nobody).message
    assert isinstance(failure("practice", hub.url), errors.InputError)
    del hub.files["config.json"]
    assert "no config.json" in failure(hub.name, hub.url).message
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in failure(hub.name, hub.url).message


def test_two_downloads_of_one_file_do_not_mix(hub: Hub, home: Path, tmp_path: Path) -> None:
    hub.bytes_per_second = MB / 10
    to = tmp_path / "model"
    words = ["download", hub.name, "--hub", hub.url, "--to", str(to)]
    child = subprocess.Popen([sys.executable, "-m", "rerank_kit", *words],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_until(lambda: child.poll() is not None or _part_bytes(to) > 0, 180)
        second = cli(*words, "--json")
        assert second.returncode == 1
        assert "at this moment" in json.loads(second.stdout)["error"]["message"]
        hub.bytes_per_second = 0
        assert child.wait(180) == 0
    finally:
        child.kill()
        child.wait()
    assert contents(to) == wanted(hub)


# --- what is said meanwhile


def test_speed_and_money_are_said_while_it_runs(
    hub: Hub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from rerank_kit import cli as command_line
    from rerank_kit.commands import weights as command

    monkeypatch.setattr(command, "LINE_SECONDS", 0.2)
    hub.bytes_per_second = 2 * MB
    started = time.monotonic()
    words = ["download", hub.name, "--hub", hub.url, "--to", str(tmp_path / "m"),
             "--price-per-hour", "3600", "--currency", "CNY"]  # fmt: skip
    assert command_line.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    moving = [line for line in lines if "MB/s" in line and "so far" in line]
    assert moving and "s left" in moving[0] and "CNY so far" in moving[0]
    spent = float(next(line for line in lines if line.startswith("money:")).split()[1])
    assert 0 < spent <= (time.monotonic() - started) * 1.0 + 0.1  # one a second
    assert urlsplit(hub.url).netloc in "\n".join(lines)
