//! What the fuzzers of core do with their bytes: each function takes any bytes
//! at all and panics where a law does not hold.
//!
//! The targets in `fuzz/` only call these; ordinary tests replay the committed
//! inputs through them.
//!
//! - `bytes`: choices out of bytes. `messages`: messages out of choices.
//! - [`mod@protocol`]: a schedule of everything that may happen to a composed run;
//!   `world` is that run, `laws` what must hold after every call, `plans` what
//!   is run.
//! - [`mod@envelope`]: what travels on the bus.
//! - [`mod@journal`]: journals that were cut, changed or made up.

mod bytes;
pub mod envelope;
pub mod journal;
mod laws;
mod messages;
mod plans;
pub mod protocol;
mod world;

pub use envelope::envelope;
pub use journal::journal;
pub use protocol::protocol;
