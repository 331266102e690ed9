//! The load engine against real sockets: a server that writes exactly the bytes
//! a test tells it to, and stops where it is told to.

mod answers;
mod cancelling;
mod connections;
mod hazards;
mod passed;
mod support;
