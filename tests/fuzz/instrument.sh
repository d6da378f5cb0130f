#!/bin/sh
# What cargo runs in place of rustc for crates of the workspace when `cargo xtask fuzz` builds: the crates under test are
# compiled with counters and comparisons for libFuzzer. This is what `cargo fuzz --sanitizer none` does, for fewer crates and
# with a stable compiler. Not optimised: that would double the inputs a second, and make each build take three minutes
# instead of 40 seconds.
case " $* " in
*" --crate-name lb_core "* | *" --crate-name lb_userspace "* | *" --crate-name sluice_fuzz "*)
    exec "$@" -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*)
    exec "$@"
    ;;
esac
