# shellcheck shell=bash
# Sourced by the scripts at the top level: says which tools are missing and how to get them.

need_tools() {
  local missing=() packages=()
  command -v cc >/dev/null || { missing+=("a C compiler"); packages+=(build-essential); }
  command -v python3 >/dev/null || { missing+=("Python 3.11"); packages+=(python3 python3-venv); }
  if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=("Python's venv module")
    packages+=(python3-venv)
  fi
  if [ ${#packages[@]} -gt 0 ]; then
    printf 'missing: %s\n' "${missing[@]}" >&2
    echo "on Debian and Ubuntu: apt-get install ${packages[*]}" >&2
  fi
  if ! command -v cargo >/dev/null; then
    missing+=("Rust")
    echo "missing: Rust $(wanted_rust) or newer; https://rustup.rs installs it" >&2
  elif [ "$(printf '%s\n' "$(wanted_rust)" "$(rust_version)" | sort -V | head -n 1)" != "$(wanted_rust)" ]; then
    missing+=("a newer Rust")
    echo "Rust $(rust_version) is too old: $(wanted_rust) or newer is needed; rustup update" >&2
  fi
  [ ${#missing[@]} -eq 0 ] || exit 69
}

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }
rust_version() { rustc --version | cut -d' ' -f2 | cut -d- -f1; }
