#!/usr/bin/env bash
# Everything that must hold before a change lands: formatting, lints, documentation, tests, doctests.
#
# Needs Rust and Python 3; what else it needs it installs. Real data sets are not part of the
# repository: tests that want them look in ../shared or $GRADKIN_SHARED, and what they had to leave
# out is listed at the end.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }

for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done
# The test data of ONNX itself, from its Python package; the conformance test says so if it is missing.
step "ONNX's conformance tests"
python3 crates/gradkin-network/tests/conformance/fetch.py || echo "could not fetch them"

step "formatting"
cargo fmt --all --check
step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
mkdir -p target
step "graphics cards: types only"
.ci/check-cuda 2>&1 | tee target/cuda.log
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
step "tests"
status=0
cargo test --workspace --locked --no-fail-fast -- --show-output 2>&1 | tee target/test.log | grep -vE '^\s*$' || status=$?

# Once more what runs on graphics cards, by the operations that run there, on the processor.
step "tests of what runs on graphics cards"
cargo test -p gradkin-network --features portable --locked --no-fail-fast -- --show-output 2>&1 |
    tee target/portable.log | grep -vE '^\s*$' || status=$?

step "summary"
logs=(target/cuda.log target/test.log target/portable.log)
grep -hE '^conformance:' target/test.log || true
if grep -q 'LEFT OUT' "${logs[@]}"; then
    echo "!! LEFT OUT, for want of what is not in the repository:"
    grep -hoE 'LEFT OUT.*' "${logs[@]}" | sort -u | sed 's/^/!!   /'
else
    echo "nothing was left out"
fi
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "${logs[@]}"
exit "$status"
