#!/usr/bin/env bash
# Try other people's reranking clients against a live practice server. --help says more.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/set_up/find_python.sh
. "$project/scripts/set_up/find_python.sh"
"$python" "$project/scripts/setup_environment.py" ensure --extra test
unset PYTHONDONTWRITEBYTECODE # images that set it make every start of vLLM three times slower
exec "$project/.venv/bin/python" "$project/tests/integrations/run.py" "$@"
