//! The `phasegate` binary. Everything is in the library beside it.

fn main() -> std::process::ExitCode {
    phasegate_cli::main().into()
}
