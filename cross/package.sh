#!/usr/bin/env bash
# Makes the Debian packages `slmd` and `slmd-onnxruntime` for a target; prints their paths last.
#
#   cross/package.sh --target arm64              a release build with glibc 2.31 or newer
#   cross/package.sh --target amd64 --profile quick
#   cross/package.sh --binary target/debug/slmd --only slmd    what is built already, for this machine
#
#   --target T       arm64 or amd64; this machine's if left out
#   --profile P      cargo's profile; release if left out
#   --binary FILE    this file instead of a build
#   --only PACKAGE   one of the two
#   --fast           larger files, in a fraction of the time
#   --out DIR        where they go; target/packages if left out
#
# docs/packages.md says what is in them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cross/common.sh
. "$here/common.sh"
cd "$here/.."

cargo_deb_version=3.8.0
target=$(uname -m) profile=release binary="" only="" out=target/packages fast=()
while [ $# -gt 0 ]; do
  case "$1" in
    --target) target=${2:?--target needs a name}; shift 2 ;;
    --profile) profile=${2:?--profile needs a name}; shift 2 ;;
    --binary) binary=${2:?--binary needs a file}; shift 2 ;;
    --only) only=${2:?--only needs a package}; shift 2 ;;
    --fast) fast=(--fast); shift ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage "unknown option $1" ;;
  esac
done
triple=$(triple_of "$target")
arch=$(debian_of "$triple")
case "$only" in "" | slmd | slmd-onnxruntime) ;; *) usage "there is no package $only" ;; esac
wants() { [ -z "$only" ] || [ "$only" = "$1" ]; }
is_foreign() { [ "$triple" != "$(host_triple)" ]; }

cargo_deb() {
  local bin="${XDG_CACHE_HOME:-$HOME/.cache}/slmd/tools/bin/cargo-deb"
  if [ "$("$bin" --version 2>/dev/null)" != "cargo-deb $cargo_deb_version" ]; then
    say "installing cargo-deb $cargo_deb_version" >&2
    env -u CARGO_TARGET_DIR -u RUSTC cargo install --quiet --locked --root "${bin%/bin/*}" \
      "cargo-deb@$cargo_deb_version" >&2
  fi
  "$bin" deb "$@"
}

# install(1) for a file that goes into a package, as readable as such files are.
put() { # file folder [name]
  install -D -m 644 "$1" "$2/${3:-$(basename "$1")}"
}

# Compressed without names and times: the same input gives the same package.
put_gz() { # file folder name
  mkdir -p "$2"
  gzip -9nc "$1" >"$2/$3.gz"
  chmod 644 "$2/$3.gz"
}

# The command that runs the target's binary here.
runner() {
  if is_foreign; then
    # shellcheck source=/dev/null
    . "$cross/env"
    printf '%s\n' "${SLMD_QEMU_AARCH64:?run cross/setup.sh}" -L /usr/aarch64-linux-gnu
  fi
}

strip_into() { # binary file
  local strip=strip
  case "$arch" in arm64) if is_foreign; then strip=aarch64-linux-gnu-strip; fi ;; esac
  mkdir -p "$(dirname "$2")"
  "$strip" --strip-all -o "$2" "$1"
}

# What the binary itself has to say about its command line.
shell_files() { # binary root
  local run=() pages page
  mapfile -t run < <(runner)
  pages=$(mktemp -d)
  "${run[@]}" "$1" man "$pages"
  for page in "$pages"/*.1; do put_gz "$page" "$2/usr/share/man/man1" "$(basename "$page")"; done
  rm -rf "$pages"
  mkdir -p "$2"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
  "${run[@]}" "$1" completions bash >"$2/usr/share/bash-completion/completions/slmd"
  "${run[@]}" "$1" completions zsh >"$2/usr/share/zsh/vendor-completions/_slmd"
  "${run[@]}" "$1" completions fish >"$2/usr/share/fish/vendor_completions.d/slmd.fish"
}

# As they are, not compressed: the unit and the pages themselves link to them.
documents() { # folder
  local file
  for file in README.md docs/*.md docs/*.svg onnx/default/MODEL_CARD.md; do put "$file" "$1"; done
}

stage_slmd() { # stage
  local root=$1/root doc=$1/root/usr/share/doc/slmd unit notices
  [ -n "$binary" ] || binary=$("$here/build.sh" --target "$arch" --glibc 2.31 --profile "$profile")
  strip_into "$binary" "$1/bin/slmd"
  put cross/deb/config.toml "$root/etc/slmd"
  for unit in systemd/*.service systemd/*.socket; do
    if [ -e "$unit" ]; then put "$unit" "$root/usr/lib/systemd/system"; fi
  done
  # Drop-ins and tasks to copy from.
  for unit in systemd/*.conf onnx/tasks/*; do
    if [ -e "$unit" ]; then put "$unit" "$doc/examples"; fi
  done
  put systemd/slmd.sysusers "$root/usr/lib/sysusers.d" slmd.conf
  if [ -e systemd/slmd.tmpfiles ]; then put systemd/slmd.tmpfiles "$root/usr/lib/tmpfiles.d" slmd.conf; fi
  for unit in board-configs/*.toml; do put "$unit" "$root/usr/share/slmd/board-configs"; done
  documents "$doc"
  put_gz cross/deb/slmd/changelog "$doc" changelog.Debian
  notices=$(mktemp)
  python3 "$here/third-party.py" "$triple" >"$notices"
  put_gz "$notices" "$doc" THIRD-PARTY.txt
  rm -f "$notices"
  put cross/deb/slmd/lintian-overrides "$root/usr/share/lintian/overrides" slmd
  shell_files "$1/bin/slmd" "$root"
}

stage_onnxruntime() { # stage library-folder
  local root=$1/root doc=$1/root/usr/share/doc/slmd-onnxruntime
  put "$2/libonnxruntime.so" "$root/usr/lib/slmd"
  mkdir -p "$doc"
  { cat cross/deb/slmd-onnxruntime/copyright; echo "License: MIT"; sed 's/\r$//; s/^$/./; s/^/ /' "$2/LICENSE"; } >"$doc/copyright"
  chmod 644 "$doc/copyright"
  put_gz "$2/ThirdPartyNotices.txt" "$doc" ThirdPartyNotices.txt
  put_gz cross/deb/slmd-onnxruntime/changelog "$doc" changelog.Debian
  put cross/deb/slmd-onnxruntime/lintian-overrides "$root/usr/share/lintian/overrides" slmd-onnxruntime
}

# cargo-deb knows the rest from Cargo.toml: dependencies, scripts, the configuration file, and the folder
# in which everything is.
make_slmd() {
  cargo_deb "${fast[@]}" --no-build --no-strip --no-dbgsym --target "$triple" --output "$out/" \
    --deb-version "$(sed -n '1s/.*(\(.*\)).*/\1/p' cross/deb/slmd/changelog)" | tail -n 1
}

# There is no crate to be asked here, so Debian's own tool packs it.
make_onnxruntime() { # root version
  local deb="$out/slmd-onnxruntime_$2_$arch.deb"
  mkdir "$1/DEBIAN"
  sed "s/@ARCH@/$arch/; s/@VERSION@/$2/; s/@SIZE@/$(du -sk --apparent-size "$1" | cut -f1)/" \
    cross/deb/slmd-onnxruntime/control >"$1/DEBIAN/control"
  (cd "$1" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  # The same times for the same version.
  find "$1" -exec touch -d "@$(changed cross/deb/slmd-onnxruntime/changelog)" {} +
  SOURCE_DATE_EPOCH=$(changed cross/deb/slmd-onnxruntime/changelog) \
    dpkg-deb --root-owner-group -Zxz --build "$1" "$deb" >/dev/null
  printf '%s\n' "$deb"
}

# The time in a changelog.
changed() { date -d "$(sed -n 's/^ -- .*>  //p' "$1" | head -n 1)" +%s; }

paths=()
mkdir -p "$out"
out=$(cd "$out" && pwd)
# The modes inside are those of packages, whatever the umask here.
umask 022
if wants slmd; then
  rm -rf target/package/slmd
  stage_slmd target/package/slmd
  paths+=("$(make_slmd)")
fi
if wants slmd-onnxruntime; then
  library=$("$here/fetch-onnxruntime.sh" --target "$arch")
  version=$(sed -n '1s/.*(\(.*\)).*/\1/p' cross/deb/slmd-onnxruntime/changelog)
  [ "${version%-*}" = "$(cat "$library/version")" ] \
    || fail "cross/deb/slmd-onnxruntime/changelog is of another version than onnx/requirements-runtime.lock"
  rm -rf target/package/slmd-onnxruntime
  stage_onnxruntime target/package/slmd-onnxruntime "$library"
  paths+=("$(make_onnxruntime target/package/slmd-onnxruntime/root "$version")")
fi
printf '%s\n' "${paths[@]}"
