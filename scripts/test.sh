#!/usr/bin/env bash
# Set up what is missing and run every check: ruff, mypy, the notebooks, the tests.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'TEXT'
usage: bash scripts/test.sh [--full] [pytest arguments]

Sets up what is missing, then runs ruff, mypy, the notebooks (nbval) and the tests.
All of them run, whatever fails; the exit status is 0 only when all passed.

  --full   add the solutions of the notebooks, the long tests and those in a real browser
           (chromium and a Chinese font are installed with apt-get when this is root on
           Debian or Ubuntu and CI=true or RERANK_KIT_INSTALL_BROWSER=1; with CI=true also
           openssh-server, nginx, caddy, rsync and iproute2, for the tests of remote servers)
  --help   this text

Arguments for pytest go to the tests only, and the notebooks are left out:
  bash scripts/test.sh -k memory
  bash scripts/test.sh tests/test_setup.py
TEXT
}

full=no
arguments=()
for argument in "$@"; do
    case $argument in
        --full) full=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) arguments+=("$argument") ;;
    esac
done

# shellcheck source=scripts/set_up/find_python.sh
. "$project/scripts/set_up/find_python.sh"
unset RERANK_URL RERANK_API_KEY # the tests start their own server
unset RERANK_KIT_LANGUAGE       # outputs are saved and compared in English
unset PYTHONDONTWRITEBYTECODE   # images that set it make every start of vLLM three times slower
"$python" "$project/scripts/setup_environment.py" ensure --extra test
cd "$project"
export RERANK_PROFILE=practice
export PATH="$project/.venv/bin:$PATH"

# apt-get for so many seconds at most (a network may hang), with patience for a mirror that falters
# and for a system that is just updating itself.
apt_within() {
    DEBIAN_FRONTEND=noninteractive timeout "$1" \
        apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "${@:2}"
}

find_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

worst=0
# Runs a check, remembers a failure, goes on.
check() {
    local name=$1 status=0
    shift
    echo
    echo "== $name"
    "$@" || status=$?
    if [ "$status" -ne 0 ]; then
        echo "== $name: failed (exit status $status)"
        if [ "$status" -gt "$worst" ]; then worst=$status; fi
    fi
}

expression="not full and not browser"
if [ "$full" = yes ]; then
    expression=""
    if ! find_chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
        { [ "${CI:-}" = true ] || [ "${RERANK_KIT_INSTALL_BROWSER:-}" = 1 ]; }; then
        echo "Installing chromium and fonts-noto-cjk with apt-get (about 250 MB) for the browser tests."
        mkdir -p .work
        if ! { apt_within 300 update && apt_within 900 install -y --no-install-recommends \
            chromium fonts-noto-cjk; } >.work/apt.log 2>&1; then
            echo "apt-get failed; its last lines (all of it: .work/apt.log):"
            tail -n 3 .work/apt.log
        fi
    fi
    # For tests/test_remote.py. In CI only: the packages start both as services of the system.
    if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        packages=()
        [ -x /usr/sbin/sshd ] || packages+=(openssh-server openssh-client)
        [ -x /usr/sbin/nginx ] || packages+=(nginx)
        [ -x /usr/bin/rsync ] || packages+=(rsync)
        [ -x /usr/sbin/ip ] || [ -x /sbin/ip ] || packages+=(iproute2)
        command -v caddy >/dev/null || packages+=(caddy)
        if [ "${#packages[@]}" -gt 0 ]; then
            echo "Installing ${packages[*]} with apt-get for the tests of remote servers."
            mkdir -p .work
            apt_within 300 update >.work/apt-remote.log 2>&1 || echo "apt-get update failed"
            for package in "${packages[@]}"; do # one by one: not every system has every one
                if ! apt_within 300 install -y --no-install-recommends "$package" \
                    >>.work/apt-remote.log 2>&1; then
                    echo "apt-get could not install $package (.work/apt-remote.log): tests that" \
                        "miss it are left out, and named as SKIPPED at the end."
                fi
            done
        fi
    fi
    if ! find_chromium >/dev/null; then
        echo "No chromium here: the browser tests are LEFT OUT (as root on Debian or Ubuntu," \
            "RERANK_KIT_INSTALL_BROWSER=1 installs it)."
        expression="not browser"
    fi
fi

check "ruff" ruff check .
if [ -d rerank_kit ]; then check "mypy" mypy rerank_kit; fi

if [ "${#arguments[@]}" -eq 0 ] && compgen -G 'notebooks/*.ipynb' >/dev/null; then
    sanitize=()
    if [ -f tests/notebooks/sanitize.cfg ]; then
        sanitize=(--nbval-sanitize-with tests/notebooks/sanitize.cfg)
    fi
    # Two at a time: most of a notebook's time is its kernel's start and waiting. A solution is its
    # exercise with two or three cells filled in: they are run with --full, each after its exercise
    # (notebooks/conftest.py).
    lessons=(notebooks/*.ipynb)
    if [ "$full" = yes ]; then lessons=(notebooks); fi
    check "notebooks" python -m pytest -q --nbval --nbval-current-env --nbval-cell-timeout 240 \
        -n 2 --durations=12 \
        ${sanitize[@]+"${sanitize[@]}"} "${lessons[@]}"
fi

where=(tests)
for argument in ${arguments[@]+"${arguments[@]}"}; do
    if [ -e "${argument%%::*}" ]; then where=(); fi # the caller names files
done

# The tests come last, so that the last line is their summary.
status=0
echo
echo "== tests"
python -m pytest --durations=40 -rs ${where[@]+"${where[@]}"} ${expression:+-m "$expression"} \
    ${arguments[@]+"${arguments[@]}"} || status=$?
if [ "$status" -gt "$worst" ]; then worst=$status; fi
exit "$worst"
