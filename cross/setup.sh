#!/usr/bin/env bash
# Sets up cross-compilation to aarch64 on Debian 12 (x86-64), from Debian's archive and PyPI. As root.
#
#   cross/setup.sh                     installs; safe to run again
#   . "$(cross/setup.sh --env)"        then: cargo build --target aarch64-unknown-linux-gnu
#
# cross/build.sh does both. Three parts:
#  - the linker: Debian's gcc-aarch64-linux-gnu, installed; and zig with cargo-zigbuild, in a Python
#    environment of their own, for binaries that run on older C libraries than this machine's;
#  - Rust's standard library: rustup's aarch64 target where it is installed already. Else Debian's
#    rustc-web, with its library for both architectures, is unpacked into a private folder, never
#    installed. It moves with Debian's security updates, so its version is not the pinned one;
#  - qemu-user 10, which runs the result here: from bookworm-backports, unpacked likewise. 7.2 of
#    Debian 12 crashes on ONNX Runtime.
# All of it is in ${XDG_CACHE_HOME:-$HOME/.cache}/slmd/cross (about 1.2 GB).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cross/common.sh
. "$here/common.sh"
root="$cross/root"
settings="$cross/env"

case "${1:-}" in
  "") ;;
  --env)
    [ -f "$settings" ] || fail "not set up: run cross/setup.sh first"
    printf '%s\n' "$settings"
    exit 0 ;;
  -h | --help) help; exit 0 ;;
  *) usage "unknown option $1" ;;
esac

[ "$(id -u)" -eq 0 ] || fail "run as root: packages are installed"
[ "$(uname -m)" = x86_64 ] || fail "for x86-64 machines; on aarch64 build natively"
command -v apt-get >/dev/null || fail "for Debian: there is no apt-get"
export DEBIAN_FRONTEND=noninteractive
mkdir -p "$cross"

linker() {
  local packages=()
  command -v aarch64-linux-gnu-gcc >/dev/null || packages+=(gcc-aarch64-linux-gnu)
  [ -d /usr/aarch64-linux-gnu/lib ] || packages+=(libc6-dev-arm64-cross)
  # objdump tells which C library a binary needs.
  command -v objdump >/dev/null || packages+=(binutils)
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
  [ ${#packages[@]} -eq 0 ] && return 0
  say "installing ${packages[*]}"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

major() { "$1" --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\).*/\1/p'; }

# The emulator's place: the machine's own where it is new enough, else backports', statically linked.
emulator() {
  local own=/usr/bin/qemu-aarch64 downloads="$cross/debs"
  qemu="$cross/qemu/usr/bin/qemu-aarch64"
  if [ -x "$own" ] && [ "$(major "$own")" -ge 10 ]; then qemu=$own; return 0; fi
  if [ -x "$qemu" ]; then return 0; fi
  private_apt
  private_download "$downloads" qemu-user/bookworm-backports
  mkdir -p "$cross/qemu"
  dpkg --fsys-tarfile "$downloads"/qemu-user_*.deb | tar -x -C "$cross/qemu" ./usr/bin/qemu-aarch64
  rm -rf "$downloads"
}

has_rustup_target() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$arm_triple/lib" ]
}

# Packages of two architectures beside each other, by their names; unpacked, not installed.
unpack_debian_rust() {
  local downloads="$cross/debs" std llvm deb
  private_apt
  export APT_CONFIG="$cross/apt/apt.conf"
  std=$(apt-cache depends rustc-web libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | sort -Vu | tail -n 1)
  llvm=$(apt-cache depends "$std" rustc-web | sed -n 's/.*Depends: \(libllvm[0-9.]*\)$/\1/p' | sort -Vu | tail -n 1)
  unset APT_CONFIG
  if [ -z "$std" ] || [ -z "$llvm" ]; then
    fail "rustc-web is not in the package lists of bookworm and bookworm-security"
  fi
  private_download "$downloads" rustc-web "$std" libstd-rust-web-dev libstd-rust-web-dev:arm64 "$llvm"
  rm -rf "$root.new"
  mkdir -p "$root.new"
  for deb in "$downloads"/*.deb; do dpkg -x "$deb" "$root.new"; done
  rm -rf "$downloads" "$root"
  mv "$root.new" "$root"
}

linker
emulator
say "$("$qemu" --version | head -n 1)"
zig_tools
rustc_line=""
if has_rustup_target; then
  say "Rust: rustup's $arm_triple"
else
  [ -d "$root/usr/lib/rustlib/$arm_triple" ] || unpack_debian_rust
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s/usr/lib/x86_64-linux-gnu" exec "%s/usr/bin/rustc" "$@"\n' \
    "$root" "$root" >"$cross/rustc"
  chmod +x "$cross/rustc"
  say "Rust: Debian's rustc-web, unpacked into $root: $("$cross/rustc" --version)"
  rustc_line="export RUSTC='$cross/rustc'"
fi
cat >"$settings" <<EOT
# Made by cross/setup.sh; source it.
$rustc_line
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='$qemu -L /usr/aarch64-linux-gnu'
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export SLMD_QEMU_AARCH64='$qemu'
EOT
say "ready: cross/build.sh --target arm64"
