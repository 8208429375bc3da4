# What is done with this repository, a word each: https://just.systems

# Lists the recipes.
default:
    @just --list

# Builds every program as it is shipped.
build:
    cargo build --release --bins --locked

# Runs all tests, after installing what they need; `just test -p cairn-journal --lib` some of them.
test *ARGUMENTS:
    ./test -- {{ ARGUMENTS }}

# Measures: `just bench cairn-journal commit` runs one bench of one crate.
bench CRATE BENCH *ARGUMENTS:
    cargo bench -p {{ CRATE }} --bench {{ BENCH }} --locked -- {{ ARGUMENTS }}

# Feeds a decoder with made up input: `just fuzz segment 60`, `just fuzz --help`.
fuzz *ARGUMENTS:
    fuzz/run {{ ARGUMENTS }}

# All that CI says about code without running it.
lint:
    .ci/run lint

# The documentation of every crate, in target/doc.
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features --locked

# All that must hold before a change lands.
ci:
    .ci/run
