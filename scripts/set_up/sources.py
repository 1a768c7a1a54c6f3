"""Where packages come from: the user's pip settings, translated for uv, and mirrors.

uv reads none of pip's settings. A machine behind a company index or in China works because
its pip is configured, so the same sources must be used here.
"""

from __future__ import annotations

import ast
import os
import re
from typing import Dict, List, Mapping

# Only used when the configured sources lack the CPU build of torch. A page of links to torch's
# wheels alone, not an index: nothing else can come from there.
TORCH_CPU_LINKS = "https://download.pytorch.org/whl/cpu/torch/"

# RERANK_KIT_MIRROR=cn. Public mirrors, reachable from China.
MIRRORS: Dict[str, Dict[str, str]] = {
    "cn": {
        "UV_DEFAULT_INDEX": "https://pypi.tuna.tsinghua.edu.cn/simple",
        "UV_PYTHON_INSTALL_MIRROR": "https://registry.npmmirror.com/-/binary/python-build-standalone",
        "HF_ENDPOINT": "https://hf-mirror.com",
        "RERANK_KIT_TORCH_LINKS": "https://mirrors.aliyun.com/pytorch-wheels/cpu/",
    }
}


def parse_pip_config(text: str) -> Dict[str, str]:
    """Settings from `pip config list`: environment over [install] over [global]."""
    levels: Dict[str, Dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in text.splitlines():
        found = re.match(r"(global|install|:env:)\.([\w-]+)=(.*)$", line.strip())
        if not found:
            continue
        section, name, value = found.groups()
        try:
            value = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            value = value.strip("'\"")
        levels[section][name] = value
    merged: Dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        merged.update(levels[section])
    return merged


def uv_settings(
    pip: Mapping[str, str], environment: Mapping[str, str], mirror: str = ""
) -> Dict[str, str]:
    """Environment variables for uv, from pip's settings. What the user set for uv stays."""
    settings: Dict[str, str] = {}
    if pip.get("index-url"):
        settings["UV_DEFAULT_INDEX"] = pip["index-url"].strip()
    extra = pip.get("extra-index-url", "").split()
    if extra:
        settings["UV_INDEX"] = " ".join(extra)
        # pip looks at all its indexes and takes the best; uv would stop at the first.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    links = [os.path.abspath(p) if os.path.exists(p) else p for p in _links(pip)]
    if links:
        settings["UV_FIND_LINKS"] = ",".join(links)
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        settings["RERANK_KIT_NO_INDEX"] = "1"  # uv has only an option for it
    if pip.get("trusted-host"):
        settings["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    if pip.get("cert"):
        settings["SSL_CERT_FILE"] = pip["cert"].strip()
    if pip.get("client-cert"):
        settings["SSL_CLIENT_CERT"] = pip["client-cert"].strip()
    if pip.get("proxy"):
        settings["ALL_PROXY"] = pip["proxy"].strip()
    timeout = pip.get("timeout") or pip.get("default-timeout") or ""
    settings["UV_HTTP_TIMEOUT"] = timeout if re.fullmatch(r"\d+", timeout) else "120"
    for name, value in MIRRORS.get(mirror, {}).items():
        if not (name == "UV_DEFAULT_INDEX" and environment.get("UV_INDEX_URL")):
            settings[name] = value  # chosen on purpose, so it beats pip's configuration
    older = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
    return {
        name: value
        for name, value in settings.items()
        if not environment.get(name) and not environment.get(older.get(name, name))
    }


def with_torch_links(environment: Mapping[str, str]) -> Dict[str, str]:
    """The same sources plus PyTorch's page of CPU wheels."""
    links = environment.get("RERANK_KIT_TORCH_LINKS") or TORCH_CPU_LINKS
    have = environment.get("UV_FIND_LINKS", "")
    return {**environment, "UV_FIND_LINKS": ",".join(filter(None, [have, links]))}


def hide_password(url: str) -> str:
    """A URL that can be shown: user and password taken out."""
    return re.sub(r"//[^/@\s]+@", "//***@", url)


def _links(pip: Mapping[str, str]) -> List[str]:
    return pip.get("find-links", "").split()
