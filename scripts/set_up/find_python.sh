# shellcheck shell=bash
# Finds a Python that can run the set-up (3.8 or newer; the environment itself gets 3.11 to 3.13).
# Sourced by scripts/start.sh and scripts/test.sh; sets $python.

python=""
for candidate in "${RERANK_KIT_PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    {
        echo "No Python found."
        echo "  evidence: none of python3, python3.13, python3.12, python3.11, python runs as 3.8 or newer"
        echo "  try:      apt-get install python3 python3-pip    (or conda, pyenv; 3.11 to 3.13)"
    } >&2
    exit 1
fi
