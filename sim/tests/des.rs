//! Tier 1 over a fixed set of seeds.

use phasegate_sim::des::{Keep, Request, Runner};
use phasegate_sim::marks::Marks;

#[test]
fn probe() {
    let mut runner = Runner::default();
    let mut marks = Marks::default();
    let mut bad = 0;
    let t = std::time::Instant::now();
    let n: u64 = std::env::var("N").ok().and_then(|s| s.parse().ok()).unwrap_or(500);
    let mut steps = 0;
    for seed in 0..n {
        let outcome = runner.request(&Request::new(seed), Keep::default());
        marks.add(&outcome.marks);
        steps += outcome.steps;
        if let Some(v) = outcome.violation {
            bad += 1;
            if bad < 12 {
                println!("seed {seed} step {}: {v}", outcome.steps);
            }
        }
    }
    println!("{marks}\n{bad} bad; {steps} steps in {:?}", t.elapsed());
}
