"""A model's checksums, and its copy to a machine without network over a real ssh login."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from login_server import needs_sshd, sshd, target
from model_hub import MB, contents, sha256
from processes import cli

from rerank_kit import errors, machine, weights


def test_verify_names_what_is_wrong_and_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    for name in ("one", "a/two", "three"):
        (folder / name).write_text(name)
    assert cli("verify", str(folder)).returncode == 2  # nothing to compare with
    assert cli("verify", "--write", str(folder)).returncode == 0
    (folder / "one").write_text("eno")
    (folder / "three").unlink()
    told = json.loads(cli("verify", str(folder), "--json").stdout)
    assert (told["wrong"], told["missing"], told["checked"]) == (["one"], ["three"], 3)
    (folder / "SHA256SUMS").write_text(f"{sha256(b'')}  ../../outside\n")
    with pytest.raises(errors.FileInputError):
        weights.verify(folder)
    (folder / "SHA256SUMS.draft").mkdir()
    failed = cli("verify", "--write", str(folder), "--json")
    assert json.loads(failed.stdout)["error"]["kind"] == "file", failed.stderr


def test_a_copy_needs_rsync_and_ssh(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "one").write_text("1")
    weights.write_checksums(tmp_path / "model")
    for missing in ("rsync", "ssh"):
        failed = cli("copy", str(tmp_path / "model"), "me@127.0.0.1", "--json",
                     env=os.environ | {"PATH": str(tmp_path)})  # fmt: skip
        told = json.loads(failed.stdout)["error"]
        assert told["kind"] == "setup" and told["message"].startswith(f"{missing} is not installed")
        (tmp_path / missing).write_text("#!/bin/sh\n")
        (tmp_path / missing).chmod(0o755)


@needs_sshd
@pytest.mark.skipif(
    shutil.which("rsync") is None, reason="rsync is not installed (apt-get install rsync)"
)
def test_a_model_is_copied_to_a_machine_without_network_and_checked_there(
    keys: Path, tmp_path: Path
) -> None:
    here, there, port = tmp_path / "here", tmp_path / "there", machine.free_port()
    (here / "sub").mkdir(parents=True)
    (here / "weights.safetensors").write_bytes(os.urandom(3 * MB))
    (here / "sub" / "词表.txt").write_text("是 否")
    words = ["copy", str(here), "--to", str(there), "--json"]
    login = ["--", "ssh", *target(keys, port).words()]
    assert cli(*words, *login).returncode == 2  # nobody could tell whether the copy is right
    weights.write_checksums(here)
    with sshd(keys, port):
        done = cli(*words, *login)
        assert json.loads(done.stdout)["ok"] and contents(there) == contents(here), done.stderr
        assert weights.verify(there).good
        (there / "weights.safetensors").write_bytes(b"broken off")
        assert cli(*words, *login).returncode == 0 and weights.verify(there).good  # gone on with
        printed = cli(*words[:-1], "--print", *login).stdout.splitlines()
        assert len(printed) == 3 and "sha256sum" in printed[2]
        # Here something has changed since the list was written: the copy is not what it says.
        (here / "weights.safetensors").write_bytes(os.urandom(3 * MB))
        failed = cli(*words, *login)
        assert failed.returncode == 1
        assert "not whole" in json.loads(failed.stdout)["error"]["message"]
    gone = cli(*words, *login)
    assert json.loads(gone.stdout)["error"]["kind"] == "unreachable"
    bad = cli("copy", str(here), "--to", "x;id", *login)
    assert bad.returncode == 2
