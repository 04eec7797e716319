#!/usr/bin/env bash
# Fetches ONNX Runtime's library for a target from PyPI, and prints the folder it is in.
#
#   cross/fetch-onnxruntime.sh                    for this machine's architecture
#   cross/fetch-onnxruntime.sh --target arm64     or aarch64, amd64, x86_64
#
# The version and the wheels' hashes are those of onnx/requirements-runtime.lock; a wheel that has
# another hash is refused. The folder holds libonnxruntime.so, version, LICENSE and
# ThirdPartyNotices.txt.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cross/common.sh
. "$here/common.sh"
lock="$here/../onnx/requirements-runtime.lock"

target=$(uname -m)
while [ $# -gt 0 ]; do
  case "$1" in
    --target) target=${2:?--target needs a name}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage "unknown option $1" ;;
  esac
done
triple=$(triple_of "$target")
arch=${triple%%-*}
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$lock")
folder="$cross/onnxruntime/$version-$arch"

if [ ! -f "$folder/version" ]; then
  python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip; on Debian: apt-get install python3-pip"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # The wheel of one interpreter is enough: the library is the same in all.
  platforms=()
  for glibc in 2_17 2_27 2_28; do platforms+=(--platform "manylinux_${glibc}_$arch"); done
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: "${platforms[@]}" --implementation cp --python-version 3.12 \
    -d "$work" -r "$lock" >&2 || fail "PyPI has no wheel of onnxruntime $version for $arch, or cannot be reached"
  python3 - "$work"/onnxruntime-*.whl "$work/library" "$version" <<'PY'
import pathlib, sys, zipfile

wheel, folder, version = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
folder.mkdir()
wanted = {
    f"onnxruntime/capi/libonnxruntime.so.{version}": "libonnxruntime.so",
    "onnxruntime/LICENSE": "LICENSE",
    "onnxruntime/ThirdPartyNotices.txt": "ThirdPartyNotices.txt",
}
with zipfile.ZipFile(wheel) as archive:
    for name, to in wanted.items():
        (folder / to).write_bytes(archive.read(name))
(folder / "version").write_text(version + "\n")
PY
  chmod 755 "$work/library"
  mkdir -p "$cross/onnxruntime"
  rm -rf "$folder"
  mv "$work/library" "$folder"
fi
printf '%s\n' "$folder"
