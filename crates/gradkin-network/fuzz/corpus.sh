#!/usr/bin/env bash
# Fills corpus/load with the small models of the repository and, where test.sh has fetched them, the
# node tests of ONNX, of which nearly every one brings another operator.
set -euo pipefail
cd "$(dirname "$0")"
root=../../..
largest=40k

mkdir -p corpus/load
find "$root/tests" "$root/target/conformance/node" -name model.onnx -size "-$largest" 2>/dev/null |
    while read -r model; do
        cp "$model" "corpus/load/$(basename "$(dirname "$model")").onnx"
    done
echo "$(find corpus/load -type f | wc -l) files in corpus/load"
