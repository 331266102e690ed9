//! stub
use crate::des::config::Config;
use crate::invariants::Violation;
use crate::trace::Step;
#[derive(Debug)]
pub struct Oracle;
impl Oracle {
    pub fn new(_: &Config) -> Self {
        Self
    }
    pub fn see(&mut self, _: &Step<'_>) -> Result<(), Violation> {
        Ok(())
    }
}
