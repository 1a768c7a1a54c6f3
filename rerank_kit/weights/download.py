"""All files of a model: into a folder, or into the cache where vLLM looks for hub models."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import requests

from rerank_kit import models
from rerank_kit.errors import DownloadError, InputError, SetupError
from rerank_kit.machine import network
from rerank_kit.weights import hubs
from rerank_kit.weights.checksums import write_checksums
from rerank_kit.weights.fetch import fetch, is_whole, part_path
from rerank_kit.weights.hubs import HubFile, HubModel

GB = 1e9
#: Files at a time: one line of a hub is often slower than the machine's.
WORKERS = 4
#: Left free on the disk for whatever else writes to it.
SPARE_BYTES = 2 * 10**8


@dataclass(frozen=True)
class Progress:
    """How far a download is. kept_bytes were here before it began."""

    done_bytes: int
    total_bytes: int
    kept_bytes: int
    seconds: float

    @property
    def bytes_per_second(self) -> float:
        return (self.done_bytes - self.kept_bytes) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Download:
    """A model that is whole, every checksum compared with the hub's."""

    model: HubModel
    folder: Path
    kept_bytes: int
    fetched_bytes: int
    seconds: float


ProgressCallback = Callable[[Progress], None]


def download(
    model: str,
    *,
    to: Path | None = None,
    hub: str = "",
    branch: str = "",
    on_start: Callable[[HubModel, Path, int], None] | None = None,
    on_progress: ProgressCallback | None = None,
) -> Download:
    """Fetch what is missing of a model, and check all of it.

    to: a folder for its files; None: the cache of huggingface_hub, where vLLM finds it by name.
    on_start: told the model, the folder and how many bytes are here already. on_progress: called
    from several threads, with each piece that came. Whatever breaks it off - a line, Ctrl-C, a
    machine that is switched off - the next call goes on from there.
    Raises DownloadError, SetupError (no room, no huggingface_hub), InputError.
    """
    if network.is_offline(os.environ):
        raise InputError("HF_HUB_OFFLINE is set.", hint="unset HF_HUB_OFFLINE")
    with _session() as session:
        chosen = hubs.chosen_hub(hub)
        token = hubs.token_for(chosen)
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        found = hubs.list_files(chosen, model, session, branch=branch)
        place = _Folder(to) if to else _Cache(found)
        try:
            report = _fetch_all(found, place, session, on_start, on_progress)
            place.finish(found, token)
        except OSError as error:
            raise _no_room(error, place.folder) from None
    return Download(found, place.folder, *report)


class _Folder:
    """A folder of the user's own, with a list of checksums beside the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()

    def path(self, file: HubFile) -> Path:
        return self.folder / file.path

    def files(self, model: HubModel) -> list[HubFile]:
        return list(model.files)

    def finish(self, model: HubModel, token: str) -> None:
        write_checksums(self.folder, {file.path: file.sha256 for file in model.files})


class _Cache:
    """The cache of huggingface_hub. Large files are put where it keeps them, under their
    checksum; it then finds them there, fetches the small ones, and links them all."""

    def __init__(self, model: HubModel) -> None:
        if model.is_modelscope:
            raise InputError(
                "ModelScope has a cache of its own, which this kit leaves alone.",
                hint=f"name a folder: --to models/{model.name.rsplit('/', 1)[1]}",
            )
        try:
            import huggingface_hub  # noqa: F401
        except ImportError:
            raise SetupError(
                "huggingface_hub, which keeps the cache of models, is not installed.",
                hint="pip install huggingface_hub, or name a folder: --to DIR",
            ) from None
        self.folder = models.hub_cache_dir() / f"models--{model.name.replace('/', '--')}"

    def path(self, file: HubFile) -> Path:
        return self.folder / "blobs" / file.sha256

    def files(self, model: HubModel) -> list[HubFile]:
        return [file for file in model.files if file.sha256]

    def finish(self, model: HubModel, token: str) -> None:
        from huggingface_hub import snapshot_download

        try:
            self.folder = Path(snapshot_download(
                model.name, revision=model.branch, endpoint=model.hub.url, token=token or False,
                cache_dir=models.hub_cache_dir(), allow_patterns=[one.path for one in model.files],
                tqdm_class=_no_bar(),
            ))  # fmt: skip
        except Exception as error:  # of huggingface_hub and of the HTTP library below it
            if isinstance(error, OSError) and error.errno:
                raise  # of the disk; the library's own errors are OSErrors without a number
            raise DownloadError(
                f"{model.hub.name} did not give the small files of {model.name}.",
                evidence=f"{type(error).__name__}: {error}"[:300],
                hint="the same command again: what is fetched stays",
            ) from None
        small = [file for file in model.files if not file.sha256]
        wrong = [file.path for file in small if not is_whole(file, self.folder / file.path)]
        if wrong:
            raise DownloadError(
                f"Not what {model.hub.name} says they are: {', '.join(wrong)}.",
                evidence=str(self.folder), hint="delete these files and what they link to, then "
                "the same command again",
            )  # fmt: skip


def _fetch_all(
    model: HubModel, place: _Folder | _Cache, session: requests.Session,
    on_start: Callable[[HubModel, Path, int], None] | None, on_progress: ProgressCallback | None,
) -> tuple[int, int, float]:  # fmt: skip
    """(bytes that were here, bytes that came, seconds)."""
    files = place.files(model)
    missing = [file for file in files if not is_whole(file, place.path(file))]
    total = sum(file.size for file in files)
    kept = total - sum(file.size - _part_bytes(file, place.path(file)) for file in missing)
    _check_room(place.folder, total - kept)
    if on_start:
        on_start(model, place.folder, kept)
    done, lock, started = kept, threading.Lock(), time.monotonic()

    def count(bytes_more: int) -> None:
        nonlocal done
        with lock:
            done += bytes_more
            if on_progress:
                on_progress(Progress(done, total, kept, time.monotonic() - started))

    stop = threading.Event()
    with ThreadPoolExecutor(WORKERS) as pool:
        running = [pool.submit(fetch, model, file, place.path(file), session, count, stop)
                   for file in sorted(missing, key=lambda file: -file.size)]  # fmt: skip
        try:
            for one in wait(running, return_when=FIRST_EXCEPTION).done:
                one.result()
        except BaseException:
            stop.set()  # the others keep what they have and end
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return kept, max(0, done - kept), time.monotonic() - started


def _part_bytes(file: HubFile, destination: Path) -> int:
    with contextlib.suppress(OSError):
        return min(file.size, part_path(file, destination).stat().st_size)
    return 0


def _check_room(folder: Path, needed: int) -> None:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if needed + SPARE_BYTES > free:
        raise SetupError(
            f"{needed / GB:.2f} GB are still to come, and {free / GB:.2f} GB are free.",
            evidence=str(folder), hint="--to a folder on a larger disk, or HF_HOME there",
        )  # fmt: skip


def _no_room(error: OSError, folder: Path) -> Exception:
    if isinstance(error, requests.RequestException):
        return DownloadError("The hub's answer broke off.", evidence=str(error)[:200],
                             hint="the same command goes on from there")  # fmt: skip
    return SetupError(
        f"The files cannot be written: {error.strerror or error}.", evidence=str(folder),
        hint="free some space (df -h); the same command goes on from there",
    )  # fmt: skip


@contextlib.contextmanager
def _session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=WORKERS)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        yield session


def _no_bar() -> type:
    """A progress bar of huggingface_hub's that is not shown: ours is."""
    from tqdm.auto import tqdm

    class Silent(tqdm):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})

    return Silent
