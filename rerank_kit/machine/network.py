"""Which model hub answers from here: Hugging Face, a mirror of it, ModelScope."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

#: Long enough for a proxy across an ocean, short enough for a report.
PROBE_SECONDS = 2.0
_MODEL = "Qwen/Qwen3-Reranker-0.6B"
_HUGGING_FACE = "https://huggingface.co"
_MIRROR = "https://hf-mirror.com"
_MODELSCOPE = "https://www.modelscope.cn"


@dataclass(frozen=True)
class Hub:
    """One hub and whether it answers. seconds is None when it did not; problem says why."""

    name: str
    url: str
    seconds: float | None = None
    problem: str = ""

    @property
    def answers(self) -> bool:
        return self.seconds is not None


def hubs_to_ask(environment: Mapping[str, str]) -> list[Hub]:
    """The hub that downloads would use first (HF_ENDPOINT where it is set), then the others."""
    chosen = environment.get("HF_ENDPOINT", "").strip().rstrip("/")
    known = [
        Hub("Hugging Face", _HUGGING_FACE),
        Hub("the mirror hf-mirror.com", _MIRROR),
        Hub("ModelScope", _MODELSCOPE),
    ]
    if chosen:
        same = [hub for hub in known if hub.url == chosen]
        first = same[0] if same else Hub("the hub in HF_ENDPOINT", chosen)
        return [first, *(hub for hub in known if hub.url != chosen)]
    if environment.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"):
        return [known[2], known[0], known[1]]
    return known


def is_offline(environment: Mapping[str, str]) -> bool:
    """The user forbade downloads (HF_HUB_OFFLINE)."""
    return environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def probe(hubs: list[Hub], limit_seconds: float = PROBE_SECONDS) -> list[Hub]:
    """Ask all hubs at once for a small file of the 0.6B model. Proxies of the environment are
    used. Never takes longer than the limit: a name server that hangs is left behind."""
    results = {hub: Hub(hub.name, hub.url, None, "no answer in time") for hub in hubs}

    def ask(hub: Hub) -> None:
        results[hub] = _ask(hub, limit_seconds)

    threads = [threading.Thread(target=ask, args=(hub,), daemon=True) for hub in hubs]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit_seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [results[hub] for hub in hubs]


def _ask(hub: Hub, limit_seconds: float) -> Hub:
    import requests

    url = f"{hub.url}/{_MODEL}/resolve/main/config.json"
    if hub.url == _MODELSCOPE:
        url = f"{hub.url}/models/{_MODEL}/resolve/master/config.json"
    started = time.monotonic()
    try:
        answer = requests.head(url, timeout=limit_seconds, allow_redirects=False)
    except requests.exceptions.ProxyError:
        return Hub(hub.name, hub.url, None, "the proxy refuses")
    except requests.exceptions.SSLError:
        return Hub(hub.name, hub.url, None, "its certificate is not trusted here")
    except requests.exceptions.Timeout:
        return Hub(hub.name, hub.url, None, "no answer in time")
    except (requests.exceptions.RequestException, ValueError):
        return Hub(hub.name, hub.url, None, "cannot be reached")
    # A login page of a hotel or a company answers too, but sends the visitor somewhere else.
    away = re.match(r"https?://([^/]+)", answer.headers.get("Location", ""))
    if answer.status_code >= 400:
        return Hub(hub.name, hub.url, None, f"HTTP {answer.status_code}")
    if away and not _same_family(away[1], hub.url):
        return Hub(hub.name, hub.url, None, "something in between answers instead")
    return Hub(hub.name, hub.url, time.monotonic() - started)


def _same_family(host: str, url: str) -> bool:
    """Hubs send downloads on to hosts of their own (hf.co, modelscope.cn, a cloud's storage)."""
    family = ("huggingface.co", "hf.co", "hf-mirror.com", "modelscope.cn", "aliyuncs.com",
              "amazonaws.com", "cloudfront.net")  # fmt: skip
    own = url.split("//", 1)[-1].split("/")[0]
    return host == own or host.split(":")[0].endswith(family)


def proxies(environment: Mapping[str, str]) -> str:
    """The proxy that downloads go through, without user and password; "" for none."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        if environment.get(name):
            return re.sub(r"//[^/@\s]+@", "//", environment[name])
    return ""
