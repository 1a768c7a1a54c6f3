"""Find a vLLM that a rented image already has, so that nothing big is downloaded."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from set_up.choice import Choice, is_reusable
from set_up.machine import run

# Asked of another interpreter. Prints one JSON line: versions, whether CUDA works, and the
# packages that vLLM and torch depend on with their versions (ours must not shadow them).
PROBE = r"""
import importlib.metadata as m, json, re, sys
def closure(names):
    seen, todo = {}, list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        try:
            d = m.distribution(name)
        except m.PackageNotFoundError:
            continue
        seen[name] = d.version
        for r in d.requires or []:
            if "extra ==" not in r:
                todo.append(re.match(r"[\w.-]+", r).group(0))
    return seen
out = {"python": list(sys.version_info[:2]), "executable": sys.executable}
out["sites"] = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
try:
    out["vllm"] = m.version("vllm")
    out["packages"] = closure(["vllm", "torch"])
    if "--import" in sys.argv:
        import torch
        out["torch"] = torch.__version__
        out["cuda"] = torch.cuda.is_available()
        import vllm
        out["works"] = bool(out["cuda"])
except Exception as error:
    out["error"] = "%s: %s" % (type(error).__name__, error)
print("\n" + json.dumps(out))
"""

USUAL_PYTHONS = (
    "python3",
    "python",
    "/opt/conda/bin/python",
    "/root/miniconda3/bin/python",
    "/venv/main/bin/python",
    "/opt/venv/bin/python",
    "/usr/bin/python3",
)


@dataclass(frozen=True)
class Found:
    """A vLLM of the image: where, which version, and what it depends on."""

    python: str
    version: str
    packages: Dict[str, str]
    sites: Tuple[str, ...] = ()  # its site-packages folders


def parse_probe(text: str) -> Dict[str, Any]:
    """The JSON line among whatever else the imports printed."""
    for line in reversed(text.strip().splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                return {}
    return {}


def judge(probe: Dict[str, Any]) -> Tuple[bool, str]:
    """Whether this vLLM can be reused, and why or why not."""
    version = str(probe.get("vllm", ""))
    if not version:
        return False, "no vLLM"
    if not is_reusable(version):
        return False, "vLLM %s is not a version we know to work" % version
    python = tuple(probe.get("python") or ())
    if not (3, 11) <= python < (3, 14):
        return False, "vLLM %s is on Python %s" % (version, ".".join(map(str, python)))
    if not probe.get("works"):
        why = probe.get("error") or "its torch does not see the GPU"
        return False, "vLLM %s does not work: %s" % (version, why)
    return True, "this image already has a working vLLM %s" % version


def find(project: Path) -> Tuple[Optional[Found], List[str]]:
    """The first good vLLM of this image; and what was passed over, in words."""
    passed: List[str] = []
    seen = set()
    for name in USUAL_PYTHONS:
        path = shutil.which(name)
        if path is None or os.path.realpath(path).startswith(str(project)):
            continue
        prefix_status, prefix = run([path, "-c", "import sys; print(sys.prefix)"], 20)
        if prefix_status != 0 or prefix in seen:
            continue
        seen.add(prefix)
        quick = parse_probe(run([path, "-c", PROBE], 60)[1])
        if not quick.get("vllm"):
            continue
        probe = parse_probe(run([path, "-c", PROBE, "--import"], 300)[1]) or quick
        good, why = judge(probe)
        if good:
            packages = {str(k): str(v) for k, v in dict(probe["packages"]).items()}
            sites = tuple(map(str, probe["sites"]))
            return Found(path, str(probe["vllm"]), packages, sites), passed
        passed.append("%s: %s" % (path, why))
    return None, passed


def reuse_choice(found: Found) -> Choice:
    return Choice(
        "reuse",
        "this image already has a working vLLM %s (%s)" % (found.version, found.python),
        found.version,
        ["Only JupyterLab and small packages are added; RERANK_KIT_BUILD=gpu installs our own."],
    )


def image_pins(found: Found, pins: str) -> str:
    """Our pins, except that what vLLM's image depends on keeps the image's versions."""
    ours = [
        line
        for line in pins.splitlines()
        if line.strip() and line.split("==")[0].strip().lower() not in found.packages
    ]
    theirs = [
        "%s==%s" % (name, version)
        for name, version in sorted(found.packages.items())
        if name not in ("vllm", "torch") and "+" not in version
    ]
    return "\n".join(ours + theirs) + "\n"
