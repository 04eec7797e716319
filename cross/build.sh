#!/usr/bin/env bash
# Builds slmd for a target and says which C library the binary needs; prints its path last.
#
#   cross/build.sh                                for this machine, as `cargo build --release`
#   cross/build.sh --target arm64                 for aarch64 with glibc 2.31 or newer
#   cross/build.sh --target amd64 --glibc 2.31    likewise for x86-64
#   cross/build.sh --target arm64 --minimal       tract alone, for small devices
#
#   --target T     arm64, amd64 (or aarch64, x86_64); this machine's if left out
#   --glibc V      2.31: linked by zig. 2.34: by gcc, with what the machine's C library gives. Both
#                  fail if the binary asks for more. native: by gcc, unchecked. Left out: 2.31 for
#                  another architecture, native for this one
#   --minimal      features tract and default-model, profile `small`, whatever --profile says
#   --no-model     with --minimal: without the embedded model too
#   --profile P    cargo's profile; release if left out. `quick` builds in a fraction of the time
#   --tests        the test programs instead of the binary; prints their paths, one a line
#
# cross/setup.sh comes first, except for --glibc native (or 2.34) on this architecture.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cross/common.sh
. "$here/common.sh"
cd "$here/.."

target="" glibc="" profile=release features=() minimal=false model=,default-model tests=false
while [ $# -gt 0 ]; do
  case "$1" in
    --target) target=${2:?--target needs a name}; shift 2 ;;
    --glibc) glibc=${2:?--glibc needs a version}; shift 2 ;;
    --profile) profile=${2:?--profile needs a name}; shift 2 ;;
    --minimal) minimal=true; shift ;;
    --no-model) model=""; shift ;;
    --tests) tests=true; shift ;;
    -h | --help) help; exit 0 ;;
    *) usage "unknown option $1" ;;
  esac
done
triple=$(triple_of "${target:-$(uname -m)}")
if "$minimal"; then
  profile=small
  features=(--no-default-features --features "tract$model")
elif [ -z "$model" ]; then
  usage "--no-model belongs to --minimal"
fi
is_foreign() { [ "$triple" != "$(host_triple)" ]; }
if [ -z "$glibc" ]; then
  if is_foreign; then glibc=2.31; else glibc=native; fi
fi
case "$glibc" in 2.31 | 2.34 | native) ;; *) usage "--glibc is 2.31, 2.34 or native" ;; esac

set_up() {
  [ -f "$cross/env" ] || "$here/setup.sh" >&2
  if is_foreign; then
    # shellcheck source=/dev/null
    . "$cross/env"
  fi
}

# The compiler of build scripts and of foreign targets is another one than rustup's: its results are
# kept apart by cargo itself, in a folder for each target.
build() {
  local cargo=(cargo) command='build' name=$triple what=(--bin slmd)
  if is_foreign || [ "$glibc" = 2.31 ]; then set_up; fi
  if [ "$glibc" = 2.31 ]; then
    export PATH="$cross/zig/bin:$PATH"
    # cargo-zigbuild keeps a linker that is named already.
    unset CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER CC_aarch64_unknown_linux_gnu
    cargo=(cargo-zigbuild) command='zigbuild' name=$triple.$glibc
  fi
  if "$tests"; then
    command='test'
    what=(--no-run --lib --test default_logits --test agreement --test tract_engine --test ort_engine --test stories)
  fi
  "${cargo[@]}" "$command" --locked --profile "$profile" --target "$name" "${features[@]}" "${what[@]}" \
    --message-format json-render-diagnostics
}

# The paths in cargo's messages; of tests without the binary, which cargo builds for them too.
executables() {
  python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line) if line.startswith("{") else {}
    if message.get("executable") and message["profile"]["test"] == (sys.argv[1] == "true"):
        print(message["executable"])' "$tests"
}

# The newest version of the C library that a binary asks for.
needed_glibc() {
  local objdump=objdump
  case "$triple" in
    aarch64-*) if command -v aarch64-linux-gnu-objdump >/dev/null; then objdump=aarch64-linux-gnu-objdump; fi ;;
  esac
  LC_ALL=C "$objdump" -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 | sed 's/GLIBC_//'
}

at_most() { [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -n 1)" = "$2" ]; }

start=$SECONDS
paths=$(build | executables)
[ -n "$paths" ] || fail "nothing was built; cargo says why above"
if "$tests"; then
  printf '%s\n' "$paths"
  exit 0
fi
needs=$(needed_glibc "$paths")
[ -n "$needs" ] || fail "objdump finds no versions in $paths"
say "$triple, profile $profile: $(stat -c %s "$paths") bytes, needs glibc $needs, $((SECONDS - start)) s" >&2
if [ "$glibc" != native ] && ! at_most "$needs" "$glibc"; then
  fail "it was to run with glibc $glibc"
fi
printf '%s\n' "$paths"
