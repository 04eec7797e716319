#!/usr/bin/env bash
# Execution providers on a library that has some: Debian 13's ONNX Runtime 1.21, with XNNPACK and
# oneDNN, in a private root. As root, on Debian.
#
#   cross/test-providers.sh SLMD BUNDLE      SLMD: a binary for x86-64, or for aarch64, which runs under
#                                            qemu as a Raspberry Pi 5's core
#                                            BUNDLE: a model of standard operators (tiny-tjs of the tests)
#
# Nothing is installed: the packages are unpacked into ${XDG_CACHE_HOME:-$HOME/.cache}/slmd/cross/roots.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cross/common.sh
. "$here/common.sh"
case "${1:-}" in -h | --help) help; exit 0 ;; esac
[ $# -eq 2 ] || usage "takes a binary and a model"
[ "$(id -u)" -eq 0 ] || { say "run as root: it changes the root directory" >&2; exit 77; }
slmd=$(readlink -f "$1") bundle=$(readlink -f "$2")
# The machine of an ELF file (its 19th byte): 62 is x86-64, 183 AArch64.
case "$(od -An -tu1 -j18 -N1 "$slmd" | tr -d ' ')" in
  62) arch=amd64 ;;
  183) arch=arm64 ;;
  *) usage "$1 is no program for x86-64 or aarch64" ;;
esac
root="$cross/roots/trixie-$arch"
trap forget_emulator EXIT

# The machine's own mirror, with the suite of Debian 13.
unpack() {
  local apt="$root.apt" mirror options deb
  mirror=$(archive bookworm)
  [ -n "$mirror" ] || fail "no mirror of Debian in the machine's apt sources"
  rm -rf "$apt" "$root.new"
  mkdir -p "$apt"/{lists,archives}/partial "$root.new"
  : >"$apt/status"
  echo "deb [arch=$arch signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
    >"$apt/sources.list"
  options=(-o "Dir::State=$apt" -o "Dir::State::status=$apt/status" -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives" -o "Dir::Etc::sourcelist=$apt/sources.list"
    -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User=root
    -o "APT::Architecture=$arch" -o "APT::Architectures=$arch")
  apt-get "${options[@]}" update -qq
  apt-get "${options[@]}" install -y -qq --no-install-recommends --download-only libonnxruntime1.21 >/dev/null
  for deb in "$apt"/archives/*.deb; do dpkg-deb -x "$deb" "$root.new"; done
  [ -e "$root.new/lib" ] || ln -s usr/lib "$root.new/lib"
  # Where x86-64 has its loader.
  [ "$arch" = arm64 ] || [ -e "$root.new/lib64" ] || ln -s usr/lib64 "$root.new/lib64"
  mkdir -p "$root.new"/{proc,sys,dev,tmp,root}
  rm -rf "$apt" "$root"
  mv "$root.new" "$root"
}

inside() {
  # shellcheck disable=SC2016  # the inner shell's own
  QEMU_CPU=cortex-a76 unshare -m -- bash -c '
    root=$1; shift
    # The library counts processors in /sys, and crashes on ARM where there is none.
    mount -t proc proc "$root/proc"; mount -t sysfs -o ro sysfs "$root/sys"; mount --bind /dev "$root/dev"
    exec chroot "$root" "$@"' inside "$root" "$@"
}

if ! register_emulator "$arch"; then
  echo "SKIP providers on $arch: the kernel takes no emulator (binfmt_misc)"
  exit 0
fi
[ -d "$root" ] || unpack
rm -rf "$root/slmd" "$root/model" "$root/cache"
cp "$slmd" "$root/slmd"
cp -rL "$bundle" "$root/model"
cat >"$root/chain.toml" <<'EOT'
[[provider]]
name = "xnnpack"
[[provider]]
name = "dnnl"
[[provider]]
name = "acme"
plugin = "/none.so"
EOT
export HOME=/root CACHE_DIRECTORY=/cache
unset XDG_CACHE_HOME ORT_DYLIB_PATH
# The library of Debian 13 says on standard error that it registers operators twice.
inside /slmd doctor --config /chain.toml --model /model 2>/dev/null | tail -n 5
inside /slmd doctor --config /chain.toml --model /model --json 2>/dev/null >"$root/found.json"
python3 - "$root/found.json" <<'EOT'
import json, sys
found = json.load(open(sys.argv[1]))
rows = {row["name"]: row for row in found["providers"]}
assert found["onnx_runtime"]["version"] == "1.21", found["onnx_runtime"]
assert {"xnnpack", "cpu"} <= set(found["onnx_runtime"]["providers"]), found["onnx_runtime"]
assert rows["cpu"]["measured"]["times"]["decode_ms"] > 0, rows["cpu"]
agreement = rows["xnnpack"]["measured"]["agreement"]
assert agreement["clear_equal"] == agreement["clear"] and agreement["mean_kl"] < 0.02, rows["xnnpack"]
assert "need ONNX Runtime 1.22" in rows["acme"]["reason"], rows["acme"]
# The CPU, unless noise makes one of those that agree faster.
used = [name for name, row in rows.items() if row["used"]]
assert len(used) == 1 and used[0] in ("cpu", "xnnpack"), used
EOT
status=0
inside /slmd doctor --strict --config /chain.toml --model /model >/dev/null 2>&1 || status=$?
[ "$status" -eq 69 ] || fail "--strict ended with $status, not 69"
# The built-in model needs a newer library: `auto` says so and takes tract.
said=$(inside /slmd ask --task vehicle "warmer in the back" 2>&1 >/dev/null || true)
case "$said" in
  *"another engine is taken"*) ;;
  *) fail "no word of the engine: $(printf '%s' "$said" | tail -n 3)" ;;
esac
say "$arch: every provider told the truth"
