#!/usr/bin/env bash
# Set up what is missing and show the panels as a web page. --help says more.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/set_up/find_python.sh
. "$project/scripts/set_up/find_python.sh"
exec "$python" "$project/scripts/setup_environment.py" webapp "$@"
