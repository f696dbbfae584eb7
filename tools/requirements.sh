#!/bin/sh
# Resolve pyproject.toml into requirements/*.txt: exact versions with hashes, for every Python from 3.11 on Linux.
# Needs uv. Hashes only: no address of a package registry gets into the files.
set -eu
compile() {
    output=$1
    shift
    uv pip compile pyproject.toml "$@" --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --quiet --output-file "requirements/$output.txt"
}
compile run --group build
compile postgres --group build --extra postgres
compile dev --group dev
compile bench --group dev --group bench
