"""What a model consists of, as its hub tells it: Hugging Face, a mirror of it, ModelScope.

Both protocols are those of the hubs' own clients: huggingface_hub 2.4 (hf_api.py, model_info with
files_metadata) and modelscope-hub 0.5 (_legacy_api.py, list_repo_files and get_download_url).
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from rerank_kit import models
from rerank_kit.errors import DownloadError, InputError
from rerank_kit.machine import network

ASK_SECONDS = 30.0
#: Names for --hub. Any other word must be an address that speaks Hugging Face's protocol.
HUB_NAMES = {
    "huggingface": "https://huggingface.co",
    "mirror": "https://hf-mirror.com",
    "modelscope": "https://www.modelscope.cn",
}
#: Weights in forms that vLLM does not read, where safetensors are there too.
OTHER_FORMS = ("*.bin", "*.pt", "*.pth", "*.onnx", "*.gguf", "*.h5", "*.msgpack", "onnx/*",
               "openvino/*", "original/*")  # fmt: skip


@dataclass(frozen=True)
class HubFile:
    """A file of a model. Of the two checksums a hub gives one: sha256 for large files, git's
    own for small ones (ModelScope: sha256 for all)."""

    path: str
    size: int
    sha256: str = ""
    git_sha1: str = ""

    @property
    def checksum(self) -> str:
        return self.sha256 or self.git_sha1


@dataclass(frozen=True)
class HubModel:
    """A model on a hub, at one revision. branch: what was asked for, revision: what it is."""

    name: str
    hub: network.Hub
    branch: str
    revision: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def is_modelscope(self) -> bool:
        return is_modelscope(self.hub)

    def url(self, file: HubFile) -> str:
        if self.is_modelscope:
            return (f"{self.hub.url}/api/v1/models/{self.name}/repo"
                    f"?Revision={quote(self.revision, safe='')}"
                    f"&FilePath={quote(file.path, safe='')}")  # fmt: skip
        return f"{self.hub.url}/{self.name}/resolve/{self.revision}/{quote(file.path)}"


def chosen_hub(
    wanted: str = "", environment: Mapping[str, str] | None = None
) -> network.Hub:
    """The hub of a name or an address; "" takes what HF_ENDPOINT or VLLM_USE_MODELSCOPE say."""
    values = os.environ if environment is None else environment
    if not wanted:
        hub = network.hubs_to_ask(values)[0]
        wanted = "modelscope" if hub.url == HUB_NAMES["modelscope"] else hub.url
    if wanted == "modelscope":
        own = values.get("MODELSCOPE_ENDPOINT", "").strip().rstrip("/")
        return network.Hub("ModelScope", own or HUB_NAMES[wanted])
    if wanted == "huggingface" and values.get("HF_ENDPOINT"):
        wanted = values["HF_ENDPOINT"]
    url = HUB_NAMES.get(wanted, wanted).strip().rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{wanted!r} is no hub.", hint=f"one of {', '.join(HUB_NAMES)}, or a URL")
    names = {HUB_NAMES["huggingface"]: "Hugging Face", HUB_NAMES["mirror"]: "hf-mirror.com"}
    return network.Hub(names.get(url, "a mirror of Hugging Face"), url)


def is_modelscope(hub: network.Hub) -> bool:
    return hub.name == "ModelScope"


def token_for(hub: network.Hub) -> str:
    """The user's own access token, "" for none. It is sent to its own hub only."""
    if is_modelscope(hub):
        return os.environ.get("MODELSCOPE_API_TOKEN", "")
    if os.environ.get("HF_TOKEN"):
        return os.environ["HF_TOKEN"].strip()
    home = Path(os.environ.get("HF_HOME") or models.hub_cache_dir().parent).expanduser()
    place = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return place.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def list_files(
    hub: network.Hub, model: str, session: requests.Session, *, branch: str = ""
) -> HubModel:
    """The files of a model that vLLM needs. Raises DownloadError, InputError for no hub's name."""
    name = models.resolve(model)
    if name.count("/") != 1 or Path(name).exists():
        raise InputError(f"{model!r} is no model of a hub.", hint="0.6B, 4B, 8B or owner/name")
    asked = branch or ("master" if is_modelscope(hub) else "main")
    listing = _from_modelscope if is_modelscope(hub) else _from_hugging_face
    revision, files = listing(hub, name, asked, session)
    kept = tuple(file for file in files if not _is_left_out(file.path, files))
    if not any(file.path == "config.json" for file in kept):
        raise DownloadError(f"{name} on {hub.name} has no config.json: no model for vLLM.")
    for file in kept:  # a hub is not asked where to write
        if file.path.startswith("/") or ".." in Path(file.path).parts or "\\" in file.path:
            raise DownloadError(f"{hub.name} names a file that is no path: {file.path!r}.")
    return HubModel(name, hub, asked, revision, kept)


def _is_left_out(path: str, files: list[HubFile]) -> bool:
    if not any(file.path.endswith(".safetensors") for file in files):
        return False
    return any(fnmatch.fnmatch(path, form) for form in OTHER_FORMS)


def _from_hugging_face(
    hub: network.Hub, name: str, branch: str, session: requests.Session
) -> tuple[str, list[HubFile]]:
    url = f"{hub.url}/api/models/{name}/revision/{quote(branch, safe='')}"
    data = _ask(hub, name, session, url, {"blobs": "true"})
    try:
        files = [
            HubFile(one["rfilename"], int((one.get("lfs") or one)["size"]),
                    str((one.get("lfs") or {}).get("sha256") or "").lower(),
                    str(one.get("blobId") or "").lower())
            for one in data["siblings"]
        ]  # fmt: skip
        return str(data["sha"]), files
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a_hub(hub, error) from None


def _from_modelscope(
    hub: network.Hub, name: str, branch: str, session: requests.Session
) -> tuple[str, list[HubFile]]:
    url = f"{hub.url}/api/v1/models/{name}/repo/files"
    data = _ask(hub, name, session, url, {"Revision": branch, "Recursive": "True"})
    try:
        listed = data["Data"]["Files"] if isinstance(data["Data"], dict) else data["Data"]
        files = [HubFile(one["Path"], int(one["Size"]), str(one.get("Sha256") or "").lower())
                 for one in listed if one.get("Type") != "tree"]  # fmt: skip
        return branch, files
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a_hub(hub, error) from None


def _ask(
    hub: network.Hub, name: str, session: requests.Session, url: str, params: dict[str, str]
) -> dict[str, Any]:
    try:
        answer = session.get(url, params=params, timeout=ASK_SECONDS)
    except requests.RequestException as error:
        raise DownloadError(
            f"{hub.name} cannot be reached.", evidence=f"{hub.url}: {type(error).__name__}",
            hint="another hub: --hub mirror or --hub modelscope (rerank-kit check says who "
            "answers); with no network at all: rerank-kit copy, from a machine that has it",
        ) from None  # fmt: skip
    if answer.status_code != 200:
        raise refused(hub, name, answer)
    try:
        data = answer.json()
    except ValueError as error:
        raise _not_a_hub(hub, error) from None
    if not isinstance(data, dict):
        raise _not_a_hub(hub, TypeError("no object"))
    return data


def refused(hub: network.Hub, name: str, answer: requests.Response) -> DownloadError:
    """What an HTTP error of a hub means."""
    hints = {
        401: "is the name right? A model that is not public needs a token (HF_TOKEN)",
        403: "accept the model's terms on its page first, and set HF_TOKEN",
        404: "is the name right? rerank-kit download owner/name",
        429: "the hub has had enough of this address: wait, or use another hub (--hub)",
    }
    return DownloadError(
        f"{hub.name} answers HTTP {answer.status_code} for {name}.",
        evidence=" ".join(answer.text[:200].split()) if answer.status_code < 500 else "",
        hint=hints.get(answer.status_code, "try again later, or another hub (--hub)"),
    )


def _not_a_hub(hub: network.Hub, error: Exception) -> DownloadError:
    return DownloadError(
        f"{hub.url} does not answer as a model hub does.",
        evidence=f"{type(error).__name__}: {error}"[:200],
        hint="a login page or a proxy in between? curl -I the address",
    )
