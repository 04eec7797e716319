#!/usr/bin/env bash
# Sets up cross-compilation to aarch64 on Debian 12, from Debian's archive alone. As root.
#
#   cross/setup.sh                     installs; safe to run again
#   . "$(cross/setup.sh --env)"        then: cargo build --target aarch64-unknown-linux-gnu
#
# Where rustup's aarch64 target is installed already, that one is used. Else Debian's rustc-web, with
# its standard library for both architectures, is unpacked into a private folder, never installed:
# ${XDG_CACHE_HOME:-$HOME/.cache}/slmd/cross (about 600 MB). Tests run under qemu-user.
# Note: rustc-web moves with Debian's security updates, so its version is not the pinned one.
set -euo pipefail

triple=aarch64-unknown-linux-gnu
cross="${XDG_CACHE_HOME:-$HOME/.cache}/slmd/cross"
root="$cross/root"
settings="$cross/env"

say() { printf 'cross: %s\n' "$*"; }
fail() { say "$*" >&2; exit 69; }

case "${1:-}" in
  "") ;;
  --env)
    [ -f "$settings" ] || fail "not set up: run cross/setup.sh first"
    printf '%s\n' "$settings"
    exit 0 ;;
  -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) say "unknown option $1 (see --help)" >&2; exit 64 ;;
esac

[ "$(id -u)" -eq 0 ] || fail "run as root: packages are installed"
[ "$(uname -m)" = x86_64 ] || fail "for x86-64 machines; on aarch64 build natively"
command -v apt-get >/dev/null || fail "for Debian: there is no apt-get"
export DEBIAN_FRONTEND=noninteractive

# The linker, the C library to link with, and what runs the result here.
say "linker and emulator"
apt-get update -qq
apt-get install -y -qq --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross >/dev/null
# qemu 7.2 of Debian 12 has no BF16 and no SME; 10 is in bookworm-backports, where that is enabled.
apt-get install -y -qq --no-install-recommends -t bookworm-backports qemu-user >/dev/null 2>&1 \
  || apt-get install -y -qq --no-install-recommends qemu-user >/dev/null
say "$(qemu-aarch64 --version | head -n 1)"

has_rustup_target() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$triple/lib" ]
}

# Packages of two architectures beside each other, by their names; unpacked, not installed.
unpack_debian_rust() {
  local downloads="$cross/debs" std llvm deb
  dpkg --print-foreign-architectures | grep -qx arm64 || { dpkg --add-architecture arm64; apt-get update -qq; }
  std=$(apt-cache depends rustc-web libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | sort -Vu | tail -n 1)
  llvm=$(apt-cache depends "$std" rustc-web | sed -n 's/.*Depends: \(libllvm[0-9.]*\)$/\1/p' | sort -Vu | tail -n 1)
  if [ -z "$std" ] || [ -z "$llvm" ]; then
    fail "rustc-web is not in this machine's package lists (bookworm-security)"
  fi
  mkdir -p "$downloads" "$root"
  # As root: apt's own user may not reach root's cache folder.
  (cd "$downloads" && apt-get download -qq -o APT::Sandbox::User=root rustc-web "$std" libstd-rust-web-dev libstd-rust-web-dev:arm64 "$llvm")
  for deb in "$downloads"/*.deb; do dpkg -x "$deb" "$root"; done
  rm -rf "$downloads"
}

mkdir -p "$cross"
rustc_line="" runner="qemu-aarch64 -L /usr/aarch64-linux-gnu"
if has_rustup_target; then
  say "Rust: rustup's $triple"
else
  say "Rust: Debian's rustc-web, unpacked into $root"
  [ -d "$root/usr/lib/rustlib/$triple" ] || unpack_debian_rust
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s/usr/lib/x86_64-linux-gnu" exec "%s/usr/bin/rustc" "$@"\n' \
    "$root" "$root" >"$cross/rustc"
  chmod +x "$cross/rustc"
  "$cross/rustc" --version || fail "the unpacked compiler does not run"
  rustc_line="export RUSTC='$cross/rustc'"
fi
cat >"$settings" <<EOT
# Made by cross/setup.sh; source it.
$rustc_line
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='$runner'
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
EOT
say "ready: . \"\$(cross/setup.sh --env)\"; cargo build --target $triple"
