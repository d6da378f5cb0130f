//! The binary `sluice`: hands over to [`lb_userspace::cli`].

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    lb_userspace::cli::main()
}
