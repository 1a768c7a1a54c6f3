#!/usr/bin/env bash
# Inside the container: start the server that fits the GPU, check its scores, open JupyterLab.
# Whatever ends it (Ctrl-C, docker stop, an error), the server is stopped too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

stop() { rerank-kit stop || echo "rerank-kit stop failed: the container's end takes the server with it"; }
trap stop EXIT
trap 'exit 143' TERM INT

rerank-kit launch --profile "${RERANK_PROFILE:-auto}"
rerank-kit doctor
# In the background and waited for: bash handles a signal only between commands.
jupyter lab --ip 127.0.0.1 --port "${JUPYTER_PORT:-8888}" --no-browser notebooks &
wait "$!"
