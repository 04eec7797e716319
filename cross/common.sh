# shellcheck shell=bash
# Sourced by the scripts of this folder: where things are, and Debian's archive beside the machine's
# own settings. The script that sources it has set `here` to this folder.
# shellcheck disable=SC2034,SC2016

: "${here:?}"
cross="${XDG_CACHE_HOME:-$HOME/.cache}/slmd/cross"
arm_triple=aarch64-unknown-linux-gnu

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
fail() { say "$*" >&2; exit 69; }
usage() { say "$* (see --help)" >&2; exit 64; }

# The comment at the top of the script, from its second line to the first that is not one.
help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# The Rust triple of a Debian architecture or of a triple.
triple_of() {
  case "$1" in
    arm64 | aarch64 | aarch64-unknown-linux-gnu) echo aarch64-unknown-linux-gnu ;;
    amd64 | x86_64 | x86_64-unknown-linux-gnu) echo x86_64-unknown-linux-gnu ;;
    *) usage "no target $1; arm64 and amd64 are known" ;;
  esac
}

# Debian's name of a triple's architecture.
debian_of() { case "$1" in aarch64-*) echo arm64 ;; *) echo amd64 ;; esac; }

host_triple() { rustc -vV | sed -n 's/^host: //p'; }

# Where this machine's apt finds the given release.
archive() { # codename
  apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' \
    | sed -n "s/^$1 //p" | head -n 1
}

# A private apt: lists of bookworm with its security updates and backports, for both architectures.
# The machine's own lists, architectures and packages stay as they are.
private_apt() {
  local apt="$cross/apt" main security
  main=$(archive bookworm) security=$(archive bookworm-security)
  if [ -z "$main" ] || [ -z "$security" ]; then
    fail "this machine's apt does not know bookworm and bookworm-security"
  fi
  mkdir -p "$apt"/{etc,state/lists/partial,cache/archives/partial}
  : >"$apt/status"
  cat >"$apt/etc/slmd.sources" <<EOT
Types: deb
URIs: $main
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Architectures: amd64 arm64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: $security
Suites: bookworm-security
Components: main
Architectures: amd64 arm64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOT
  # As root: apt's own user may not reach root's cache folder.
  cat >"$apt/apt.conf" <<EOT
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/etc";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
EOT
  [ -n "$(find "$apt/state/lists" -name '*_Packages*' -mmin -1440 -print -quit)" ] && return 0
  APT_CONFIG="$apt/apt.conf" apt-get update -qq
}

# One package of the private apt into the given folder, unpacked nowhere.
private_download() { # folder package...
  local folder=$1
  shift
  mkdir -p "$folder"
  (cd "$folder" && APT_CONFIG="$cross/apt/apt.conf" apt-get download -qq "$@")
}

# The static emulator for programs of another architecture, in every root: the kernel keeps the file
# that it is given. Fails where the kernel takes none.
registered=""
register_emulator() { # architecture
  [ "$1" != "$(dpkg --print-architecture)" ] || return 0
  [ -f "$cross/env" ] || "$here/setup.sh"
  # shellcheck source=/dev/null
  . "$cross/env"
  if [ ! -e /proc/sys/fs/binfmt_misc/register ]; then
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || return 1
  fi
  local known
  for known in /proc/sys/fs/binfmt_misc/*; do
    if grep -qs "^magic 7f454c46020101.*b700$" "$known" && grep -q '^flags:.*F' "$known"; then return 0; fi
  done
  # The flag F: opened now, so that it works in a root without it.
  local wrapper=$SLMD_QEMU_AARCH64 magic mask
  magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  registered=slmd-aarch64
  printf '%s' ":$registered:M::$magic:$mask:$wrapper:F" >/proc/sys/fs/binfmt_misc/register || { registered=""; return 1; }
}

# Takes back what `register_emulator` did.
forget_emulator() {
  [ -z "$registered" ] || echo -1 >"/proc/sys/fs/binfmt_misc/$registered"
}

# The tools that Python's registry has: zig, with glibc's symbol versions of every release, and
# cargo's subcommand for it. Pinned, with hashes.
zig_tools() {
  local lock="$here/requirements.lock" venv="$cross/zig" sum
  sum=$(sha256sum "$lock" | cut -d' ' -f1)
  [ "$(cat "$venv/.installed" 2>/dev/null)" = "$sum" ] && return 0
  say "zig and cargo-zigbuild"
  python3 -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: -r "$lock"
  printf '%s\n' "$sum" >"$venv/.installed"
}
