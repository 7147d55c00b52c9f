#!/usr/bin/env bash
# Fuzz the loader: ./run.sh [SECONDS], ten minutes unless said otherwise.
set -euo pipefail
cd "$(dirname "$0")"
./corpus.sh
# No single allocation beyond what a file of 64 KiB is granted (see src/budget.rs), and no run of more
# than three minutes, in which time an instrumented program gets through the work that such a file is
# granted.
exec cargo +nightly fuzz run load -- -max_total_time="${1:-600}" -max_len=65536 -timeout=180 \
    -malloc_limit_mb=1024 -rss_limit_mb=4096
