#!/usr/bin/env bash
# Installs the packages in a Debian 12 made for the purpose, starts, asks, upgrades, removes, purges. As root.
#
#   cross/test-package.sh target/packages/slmd_*_amd64.deb target/packages/slmd-onnxruntime_*_amd64.deb
#   cross/test-package.sh --unpack FILE...     no root: unpacks and looks; what .ci/run does
#
# The architecture is that of the packages; arm64 runs under qemu, registered with the kernel
# (binfmt_misc) while this runs. The daemon is started as the installed unit says; systemd itself does
# not run in the root. The bare roots are kept in ${XDG_CACHE_HOME:-$HOME/.cache}/slmd/cross/roots.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cross/common.sh
. "$here/common.sh"

unpack_only=false debs=()
while [ $# -gt 0 ]; do
  case "$1" in
    --unpack) unpack_only=true; shift ;;
    -h | --help) help; exit 0 ;;
    -*) usage "unknown option $1" ;;
    *) debs+=("$(realpath "$1")"); shift ;;
  esac
done
[ ${#debs[@]} -gt 0 ] || usage "no package is named"
[ "$(id -u)" -eq 0 ] || fail "run as root: it makes a Debian root"

slmd_deb="" library_deb=""
for deb in "${debs[@]}"; do
  case "$(dpkg-deb -f "$deb" Package)" in
    slmd) slmd_deb=$deb ;;
    slmd-onnxruntime) library_deb=$deb ;;
    *) usage "$deb is neither slmd nor slmd-onnxruntime" ;;
  esac
done
[ -n "$slmd_deb" ] || usage "the package slmd is missing"
arch=$(dpkg-deb -f "$slmd_deb" Architecture)
work=$(mktemp -d)
root="$work/root"

clean_up() {
  local mounted
  for mounted in dev/null dev/urandom sys proc; do
    mountpoint -q "$root/$mounted" && umount -l "$root/$mounted"
  done
  forget_emulator
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

step() { say "$arch: $*"; }
check() { # what command...
  local what=$1
  shift
  "$@" || fail "$arch: $what"
}

# ---- what needs no root: the files, and what systemd's and man's own tools say of them

lists() { dpkg-deb -c "$1" | awk '{print $6}' | sed 's/^\.//'; }

has_files() {
  local file files
  files=$(lists "$slmd_deb")
  for file in /usr/bin/slmd /etc/slmd/config.toml /usr/lib/systemd/system/slmd.service \
    /usr/lib/sysusers.d/slmd.conf /usr/share/man/man1/slmd.1.gz /usr/share/man/man1/slmd-serve.1.gz \
    /usr/share/bash-completion/completions/slmd /usr/share/zsh/vendor-completions/_slmd \
    /usr/share/fish/vendor_completions.d/slmd.fish /usr/share/slmd/board-configs/generic-aarch64.toml \
    /usr/share/doc/slmd/configuration.md /usr/share/doc/slmd/copyright \
    /usr/share/doc/slmd/MODEL_CARD.md /usr/share/doc/slmd/examples/summary.toml \
    /usr/share/doc/slmd/changelog.Debian.gz /usr/share/doc/slmd/THIRD-PARTY.txt.gz; do
    grep -qxF "$file" <<<"$files" || { echo "not in the package: $file"; return 1; }
  done
  [ -z "$(dpkg-deb -c "$slmd_deb" | awk '$2 != "root/root" && $2 != "0/0"')" ] || { echo "files of others than root"; return 1; }
  [ "$(dpkg-deb -I "$slmd_deb" conffiles)" = /etc/slmd/config.toml ] || { echo "config.toml is no conffile"; return 1; }
}

# Nothing that either tool says is accepted. The unpacked tree is a root in which the binary exists;
# systemd's own units, which ours refer to, are linked in from this machine.
units_are_good() { # root
  local out unit
  for unit in "$1"/usr/lib/systemd/system/slmd.*; do
    out=$(systemd-analyze verify --man=no --root="$1" "$(basename "$unit")" 2>&1) || true
    [ -z "$out" ] || { printf '%s\n' "$out"; return 1; }
  done
}

texts_are_good() { # root
  local page out
  for page in "$1"/usr/share/man/man1/*.gz; do
    out=$(zcat "$page" | man --warnings -l - 2>&1 >/dev/null) || true
    [ -z "$out" ] || { printf '%s: %s\n' "$page" "$out"; return 1; }
  done
  bash -n "$1/usr/share/bash-completion/completions/slmd"
  for out in postinst prerm postrm; do
    dpkg-deb -I "$slmd_deb" "$out" >"$work/$out"
    sh -n "$work/$out" || return 1
  done
}

look() {
  step "the package's files"
  check "files are missing or wrong" has_files
  mkdir -p "$work/unpacked/usr/lib/systemd/system" "$work/unpacked/etc"
  cp -a /usr/lib/systemd/system/*.target /usr/lib/systemd/system/*.slice /usr/lib/systemd/system/*.socket \
    "$work/unpacked/usr/lib/systemd/system/" 2>/dev/null || true
  # The unit's ExecReload, from a package that ours depends on.
  install -D /bin/kill "$work/unpacked/bin/kill"
  dpkg-deb -x "$slmd_deb" "$work/unpacked"
  check "the units are wrong" units_are_good "$work/unpacked"
  check "manual pages, completions or scripts are wrong" texts_are_good "$work/unpacked"
  check "systemd-sysusers refuses the file" systemd-sysusers --root="$work/unpacked"
  grep -q '^slmd:' "$work/unpacked/etc/passwd" || fail "systemd-sysusers makes no user slmd"
}

# ---- the root

# Tools of Debian's own archive: the bootstrapper, and the packages' critic.
tools() {
  local packages=()
  command -v mmdebstrap >/dev/null || packages+=(mmdebstrap)
  command -v lintian >/dev/null || packages+=(lintian)
  command -v man >/dev/null || packages+=(man-db)
  [ ${#packages[@]} -eq 0 ] && return 0
  step "installing ${packages[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# Debian 12 with what the packages depend on; made once.
make_root() {
  local archive="$cross/roots/bookworm-2-$arch.tar"
  if [ ! -f "$archive" ]; then
    step "making a Debian 12 root"
    private_apt
    mkdir -p "$cross/roots"
    mmdebstrap --quiet --mode=root --variant=essential --architectures="$arch" --skip=check/qemu \
      --include=systemd,procps,libgcc-s1,libstdc++6,init-system-helpers --aptopt='APT::Sandbox::User "root"' \
      bookworm "$archive.partial.tar" "$cross/apt/etc/slmd.sources" >"$work/mmdebstrap" 2>&1 \
      || { tail -n 20 "$work/mmdebstrap"; rm -f "$archive.partial.tar"; fail "no root could be made"; }
    mv "$archive.partial.tar" "$archive"
  fi
  mkdir "$root"
  tar -x -C "$root" -f "$archive"
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  local device
  for device in null urandom; do
    [ -e "$root/dev/$device" ] || touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
}

# As a Raspberry Pi 5: what qemu can do at most (SME) it does at a hundredth of the speed.
export QEMU_CPU=cortex-a76
inside() { env -i QEMU_CPU="$QEMU_CPU" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }

install_packages() {
  local deb
  for deb in "${debs[@]}"; do cp "$deb" "$root/root/"; done
  inside sh -c 'dpkg --install /root/*.deb' >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; return 1; }
}

# Every path in the root but those that dpkg and this script keep for themselves, and /tmp, where ONNX
# Runtime leaves a file: the unit has a /tmp of its own.
paths() {
  (cd "$root" && find . \( -path ./proc -o -path ./sys -o -path ./root -o -path ./var/lib/dpkg -o -path ./var/log -o -path ./run -o -path ./tmp \) -prune -o -print | sort)
}

# ---- what is asked

# An emulator on a busy machine may take its time.
ask() { inside slmd ask --json --deadline-ms 120000 --max-tokens 32 "$@"; }
answers() { # engine
  local reply
  reply=$(ask --task vehicle "warmer in the back") || { echo "slmd ask ended with $?: $reply"; return 1; }
  printf '%s\n' "$reply"
  python3 - "$reply" <<'PY'
import json, sys

reply = json.loads(sys.argv[1])
actions = json.loads(reply["text"])["actions"]
assert reply["status"] == "ok" and reply["finish_reason"] == "stop", reply
assert actions[0]["op"] == "increase" and "Row2" in actions[0]["signal"], actions
PY
  inside slmd status --json >"$work/status" || return 1
  grep -q "\"$1\"" "$work/status" || { cat "$work/status"; echo "it does not run on $1"; return 1; }
}
export -f answers ask inside
export root work

serves_with() { # engine
  step "the daemon as the unit starts it, on $1"
  python3 "$here/start-installed.py" "$root" bash -c "answers $1"
}

criticise() {
  step "lintian"
  local out
  out=$(lintian --allow-root --fail-on none --tag-display-limit 0 "${debs[@]}" 2>/dev/null)
  [ -z "$out" ] || { printf '%s\n' "$out"; return 1; }
}

tools_for_looking() { command -v man >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq man-db >/dev/null; }

tools_for_looking
look
if "$unpack_only"; then
  step "all is well, unpacked"
  exit 0
fi
tools
check "lintian has something to say" criticise
if ! register_emulator "$arch"; then
  say "SKIP $arch: the kernel takes no emulator (binfmt_misc); the package was unpacked only"
  exit 0
fi
make_root
paths >"$work/before"

step "installing"
check "dpkg fails" install_packages
[ -z "$(inside dpkg --audit)" ] || fail "dpkg finds half-installed packages"
check "there is no user slmd" grep -q '^slmd:' "$root/etc/passwd"
check "the unit is enabled, which nobody asked for" test ! -e "$root/etc/systemd/system/multi-user.target.wants/slmd.service"
check "the shipped configuration is not good" inside slmd check --config /etc/slmd/config.toml >/dev/null
check "the units are wrong in the root" units_are_good "$root"
if [ -n "$library_deb" ]; then
  check "it does not serve" serves_with ort
  step "without the library"
  inside dpkg --purge slmd-onnxruntime >/dev/null
  check "the library's folder is left" test ! -e "$root/usr/lib/slmd"
fi
check "it does not serve" serves_with tract

step "installing again over a changed configuration"
echo '# mine' >>"$root/etc/slmd/config.toml"
rm -f "$root"/root/slmd-onnxruntime_*
check "dpkg fails" inside sh -c 'dpkg --install /root/*.deb' >/dev/null
check "the changed configuration is gone" grep -q '^# mine' "$root/etc/slmd/config.toml"

step "removing"
check "dpkg fails" inside dpkg --remove slmd >/dev/null
check "the binary is left" test ! -e "$root/usr/bin/slmd"
check "the configuration is gone" test -e "$root/etc/slmd/config.toml"
check "the state is gone" test -d "$root/var/lib/slmd"
check "dpkg fails" inside dpkg --purge slmd >/dev/null
paths >"$work/after"
# The user stays; the copies of its files are systemd's.
left=$(diff "$work/before" "$work/after" | grep '^[<>]' | grep -vE '^> \./etc/(passwd|group|shadow|gshadow)-$') || true
[ -z "$left" ] || fail "$arch: a purge leaves (>) or takes (<): $left"
step "installed, served, removed; nothing is left"
