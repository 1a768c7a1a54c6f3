#!/usr/bin/env python3
"""Have SkyPilot itself read the files of this folder.

    uv run --isolated --no-project --with "skypilot==0.14.1" scripts/cluster/validate_sky.py

Rents nothing and asks no cloud. Exit status 1 when a file is not what SkyPilot takes, or when a
machine would be left running (no autostop on a task).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    os.environ.setdefault("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")  # nothing is sent anywhere
    import sky
    from sky.utils import yaml_utils

    os.chdir(HERE.parent.parent)  # workdir: . means the repository
    secrets = [("RERANK_API_KEY", "a-key-for-the-check-only")]
    task = sky.Task.from_yaml(str(HERE / "sky-task.yaml"))
    stops = [one.autostop_config for one in task.resources]
    good = bool(stops) and all(stop and stop.enabled and stop.down for stop in stops)
    minutes = {stop.idle_minutes for stop in stops if stop}
    print(f"sky-task.yaml: {len(stops)} kinds of machine, autostop {good}, idle minutes {minutes}")
    config = yaml_utils.read_yaml(str(HERE / "sky-service.yaml"))
    service = sky.Task.from_yaml_config(config, secrets_overrides=secrets)
    spec = service.service
    print(f"sky-service.yaml: {spec.min_replicas} to {spec.max_replicas} machines, probe "
          f"{spec.readiness_path} with {sorted(spec.post_data or {})}")  # fmt: skip
    header = (spec.readiness_headers or {}).get("Authorization", "")
    good &= header.startswith("Bearer ") and "$" not in header and spec.min_replicas >= 1
    print(f"SkyPilot {sky.__version__}: {'both are valid' if good else 'NOT as they should be'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
