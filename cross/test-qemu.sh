#!/usr/bin/env bash
# The aarch64 build under qemu: it agrees with x86-64, on both engines, with and without the dot product.
#
#   cross/test-qemu.sh                           builds what is missing, runs everything
#   cross/test-qemu.sh --cpu cortex-a72          on this CPU alone; may be repeated
#   cross/test-qemu.sh --profile release         another profile than `quick`
#
# Per CPU: the unit tests of kernels, engines and text; the logits of the default model against those
# recorded on x86-64 (docs/reproducibility.md), and the engines' own tests on small models; then the
# same commands to the x86-64 and to the aarch64 binary, whose JSON must be the same: see below.
# Seconds and instructions under an emulator say nothing about a board; none are printed as figures.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=cross/common.sh
. "$here/common.sh"
cd "$here/.."

cpus=() profile=quick
while [ $# -gt 0 ]; do
  case "$1" in
    --cpu) cpus+=("${2:?--cpu needs a name}"); shift 2 ;;
    --profile) profile=${2:?--profile needs a name}; shift 2 ;;
    -h | --help) help; exit 0 ;;
    *) usage "unknown option $1" ;;
  esac
done
# A Raspberry Pi 4 has no dot product, a Raspberry Pi 5 has it.
[ ${#cpus[@]} -gt 0 ] || cpus=(cortex-a72 cortex-a76)

"$here/setup.sh"
# shellcheck source=/dev/null
. "$cross/env"
arm=$("$here/build.sh" --target arm64 --profile "$profile")
host=$("$here/build.sh" --target amd64 --glibc 2.31 --profile "$profile")
mapfile -t tests < <("$here/build.sh" --target arm64 --profile "$profile" --tests)
[ ${#tests[@]} -ge 6 ] || fail "the test programs were not all built"
arm_ort=$("$here/fetch-onnxruntime.sh" --target arm64)/libonnxruntime.so
host_ort=$("$here/fetch-onnxruntime.sh" --target amd64)/libonnxruntime.so

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
emulated() { # cpu command...
  local cpu=$1
  shift
  ORT_DYLIB_PATH=$arm_ort "${SLMD_QEMU_AARCH64:?}" -cpu "$cpu" -L /usr/aarch64-linux-gnu "$@"
}

# A program of tests, with a filter where the whole would take an emulator too long or start processes
# that are not for this machine. None may run no test.
run_tests() { # cpu program filter...
  local cpu=$1 program=$2 count
  shift 2
  emulated "$cpu" "$program" --test-threads 2 "$@" >"$work/tests" 2>&1 \
    || { cat "$work/tests"; fail "$cpu: $(basename "$program") failed"; }
  grep -hE '^(SKIP|test result|.* on Neon)' "$work/tests" || true
  count=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$work/tests")
  [ "${count:-0}" -gt 0 ] || fail "$cpu: $(basename "$program") ran no test"
}

# `name arguments`, one a line: what both binaries are asked. {E} is each engine in turn.
commands() {
  cat <<'LIST'
vehicle ask --engine {E} --json --deadline-ms 120000 --task vehicle "warmer in the back"
actions ask --engine {E} --json --deadline-ms 120000 --task vehicle "open the sunroof halfway and turn off the wipers"
refusal ask --engine {E} --json --deadline-ms 120000 --task vehicle "what is the capital of france"
default ask --engine {E} --json --deadline-ms 120000 "turn the volume up a bit"
alert ask --engine {E} --json --deadline-ms 120000 --task alert "{\"sensor\":\"vibration\",\"last\":138,\"peak\":138,\"trend\":60,\"spread\":84}"
intent ask --engine {E} --json --deadline-ms 120000 --task intent "wake me up at seven tomorrow"
sampled ask --engine {E} --json --deadline-ms 120000 --task vehicle --temperature 0.2 --seed 7 "it is freezing in here"
choice ask --engine {E} --json --deadline-ms 120000 --choice open --choice close "open the window"
schema ask --engine {E} --json --deadline-ms 120000 --schema onnx/default/alert.schema.json "colder in the front"
unknown ask --engine {E} --json --deadline-ms 120000 --task nosuch "hello"
board check --json --board board-configs/raspberry-pi-5.toml
model check --json --model onnx/default
config check --json --config cross/deb/config.toml
LIST
}

# Each reply and exit code of a binary, as a file a command.
replies() { # folder engine command-prefix...
  local folder=$1 engine=$2 name line status
  shift 2
  mkdir -p "$folder"
  while read -r name line; do
    status=0
    (
      eval "set -- \"\$@\" ${line//\{E\}/$engine}"
      unset SLMD_CONFIG SLMD_MODEL SLMD_ENGINE SLMD_SOCKET
      # The same board's defaults for both.
      export SLMD_BOARD=generic-aarch64
      # What one of them measured is not the other's.
      export HOME="$folder" XDG_CACHE_HOME="$folder/cache" SLMD_LOG=error XDG_STATE_HOME="$folder/state"
      "$@"
    ) >"$folder/$name.json" 2>"$folder/$name.err" || status=$?
    printf '%s\n' "$status" >"$folder/$name.status"
  done < <(commands)
}

for cpu in "${cpus[@]}"; do
  say "$cpu: tests"
  for program in "${tests[@]}"; do
    case "$(basename "$program")" in
      # Not what the kernel says of the process: that is the emulator's own memory.
      slmd-*) run_tests "$cpu" "$program" kernels:: engine:: text:: sample:: cli::shell \
        --skip engine::memory ;;
      default_logits-*) run_tests "$cpu" "$program" --nocapture ;;
      *) run_tests "$cpu" "$program" --skip 135m --skip smollm ;;
    esac
  done
done

for engine in tract ort; do
  ORT_DYLIB_PATH=$host_ort replies "$work/host-$engine" "$engine" "$host"
  for cpu in "${cpus[@]}"; do
    say "$cpu: replies with $engine"
    replies "$work/$cpu-$engine" "$engine" emulated "$cpu" "$arm"
    python3 "$here/same-replies.py" "$work/host-$engine" "$work/$cpu-$engine"
  done
done
say "aarch64 agrees with x86-64 on ${cpus[*]}"
