//! Tier 2 by hand. See `--help`.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    for (name, _) in phasegate_sim::turmoil::named::NAMES {
        if args.len() > 1 && args[1] != name { continue; }
        let s = phasegate_sim::turmoil::named::named(name, 1).unwrap();
        let t = std::time::Instant::now();
        let o = phasegate_sim::turmoil::run(&s, args.len() > 1);
        let w = t.elapsed();
        let v: Vec<_> = o.result.iter().flat_map(|r| &r.phases).map(|p| (p.verdict, p.requests, p.notes.clone())).collect();
        println!("{}", o.text);
        println!("{name}: sim {:?} wall {w:?} steps {} replayed {} failures {:#?} {:?} {:?} {v:#?}", o.elapsed, o.steps, o.replayed, o.failures, o.result.as_ref().map(|r| r.outcome), o.result.as_ref().map(|r| r.reasons.clone()));
    }
}
