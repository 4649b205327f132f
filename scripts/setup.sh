# Sourced by scripts/run and scripts/test: a virtual environment in .venv, installed once and
# again whenever pyproject.toml changes. Needs only Python 3.11 or newer.
# LAYERSCOPE_VENV=DIR puts it elsewhere.
venv="${LAYERSCOPE_VENV:-$root/.venv}"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "layerscope needs Python 3.11 or newer; none found. Set PYTHON=/path/to/python3." >&2
    exit 1
}

setup_venv() { # setup_venv [EXTRA]: installs layerscope, or layerscope[EXTRA]
    local extra="${1:-}" stamp want
    stamp="$venv/.layerscope${extra:+-$extra}"
    want="$(cksum <"$root/pyproject.toml")"
    if [ -x "$venv/bin/layerscope" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return
    fi
    local python
    python="$(find_python)" || exit 1
    if [ ! -x "$venv/bin/python" ]; then
        echo "layerscope: making $venv" >&2
        if ! "$python" -m venv "$venv"; then
            echo "layerscope: could not make a virtual environment (Debian: apt install python3-venv)" >&2
            exit 1
        fi
    fi
    echo "layerscope: installing (once, a minute or two)" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary --no-compile \
        -e "$root${extra:+[$extra]}" >&2
    echo "$want" >"$stamp"
}
