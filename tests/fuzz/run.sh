#!/usr/bin/env bash
# Coverage-guided fuzzing with libFuzzer on the stable toolchain: `tests/fuzz/run.sh [SECONDS [TARGET...]]`, by default ten
# seconds of each target. Needs a C++ compiler. The first input that breaks a property, takes longer than 10 s or more than
# 2 GiB of memory ends the run with its own exit status and is kept in target/fuzz/found.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-10}
shift || true
# A directory of its own: everything in it is built for coverage.
out=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# What cargo-fuzz passes, less the sanitizers, which only nightly compilers have. With --target, build scripts go without.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# Debug assertions and overflow checks stay on.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=line-tables-only
cargo build --locked -p shipbound-tests-fuzz --bin fuzz --target "$host" --target-dir "$out/build"
fuzz=$out/build/$host/debug/fuzz

if [ $# -eq 0 ]; then
  mapfile -t targets < <(sed -n 's/^ *target("\([a-z-]*\)".*/\1/p' tests/fuzz/src/lib.rs)
else
  targets=("$@")
fi
mkdir -p "$out/found"
for target in "${targets[@]}"; do
  corpus=$out/corpus/$target
  log=$out/$target.log
  mkdir -p "$corpus"
  status=0
  SHIPBOUND_FUZZ=$target SHIPBOUND_FUZZ_SEEDS=$corpus "$fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -max_len=20000 -dict=tests/fuzz/words.dict -print_final_stats=1 -artifact_prefix="$out/found/$target-" "$corpus" \
    >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$log"
    input=$(find "$out/found" -name "$target-*" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    echo "$target: exit status $status; to repeat: SHIPBOUND_FUZZ=$target cargo run -p shipbound-tests-fuzz $input"
    exit "$status"
  fi
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  printf '%-14s %9s executions, %5s edges, %4s inputs kept\n' "$target" "$executed" "$covered" "$(find "$corpus" -type f | wc -l)"
done
