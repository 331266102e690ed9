//! The result join: a list of who owes what and how that stands.

use phasegate_core::controller::join::{JoinChange, ResultJoin, Standing};
use phasegate_core::id::{Domain, ServiceId};
use phasegate_core::message::DomainSummary;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Require(usize, usize),
    Result(usize, usize, u64),
    Evict(usize),
    /// Asks what has changed.
    Changes,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0_usize..3, 0_usize..3).prop_map(|(d, p)| Op::Require(d, p)),
        3 => (0_usize..3, 0_usize..3, 0_u64..9).prop_map(|(d, p, n)| Op::Result(d, p, n)),
        1 => (0_usize..3).prop_map(Op::Evict),
        3 => Just(Op::Changes),
    ]
}

fn domain(n: usize) -> Domain {
    [Domain::profile(), Domain::server_metrics(), Domain::telemetry()][n].clone()
}

fn producer(n: usize) -> ServiceId {
    ServiceId::new(["a", "b", "c"][n])
}

fn summary(n: u64) -> DomainSummary {
    DomainSummary::Readings { readings: n, failed: 0 }
}

#[derive(Debug, Clone, PartialEq)]
enum Is {
    Owing,
    In(u64),
    Out(String),
}

#[derive(Default)]
struct Model {
    all: Vec<(usize, usize, Is)>,
    said: Vec<(usize, Standing)>,
}

impl Model {
    fn find(&mut self, d: usize, p: usize) -> Option<&mut Is> {
        self.all.iter_mut().find(|(a, b, _)| (*a, *b) == (d, p)).map(|(_, _, is)| is)
    }

    fn require(&mut self, d: usize, p: usize) {
        match self.find(d, p) {
            None => self.all.push((d, p, Is::Owing)),
            Some(is @ Is::Out(_)) => *is = Is::Owing,
            Some(Is::Owing | Is::In(_)) => {}
        }
    }

    fn result(&mut self, d: usize, p: usize, n: u64) {
        if let Some(is @ (Is::Owing | Is::Out(_))) = self.find(d, p) {
            *is = Is::In(n);
        }
    }

    fn evict(&mut self, p: usize, reason: &str) {
        for (_, _, is) in self.all.iter_mut().filter(|(_, b, is)| *b == p && *is == Is::Owing) {
            *is = Is::Out(reason.to_owned());
        }
    }

    /// The producers of a domain of which `what` is so, in order.
    fn those(&self, d: usize, what: impl Fn(&Is) -> bool) -> Vec<usize> {
        let of = self.all.iter().filter(|(a, _, is)| *a == d && what(is));
        let mut of: Vec<usize> = of.map(|(_, p, _)| *p).collect();
        of.sort_unstable();
        of
    }

    fn standing(&self, d: usize) -> Standing {
        let names = |those: Vec<usize>| those.into_iter().map(producer).collect::<Vec<_>>();
        let owing = names(self.those(d, |is| *is == Is::Owing));
        let out = names(self.those(d, |is| matches!(is, Is::Out(_))));
        match (owing.is_empty(), out.is_empty()) {
            (false, _) => Standing::Pending(owing),
            (true, false) => Standing::Evicted(out),
            (true, true) => Standing::Joined,
        }
    }

    fn known(&self, d: usize) -> bool {
        self.all.iter().any(|(a, ..)| *a == d)
    }

    fn changes(&mut self) -> Vec<JoinChange> {
        let mut changes = vec![];
        for d in 0..3 {
            if !self.known(d) {
                continue;
            }
            let standing = self.standing(d);
            if !self.said.contains(&(d, standing.clone())) {
                self.said.retain(|(a, _)| *a != d);
                self.said.push((d, standing.clone()));
                changes.push(JoinChange { domain: domain(d), standing });
            }
        }
        changes
    }
}

proptest! {
    #[test]
    fn the_result_join_does_what_its_model_does(ops in prop::collection::vec(op(), 0..60)) {
        let (mut join, mut model) = (ResultJoin::default(), Model::default());
        for (n, op) in ops.into_iter().enumerate() {
            match op {
                Op::Require(d, p) => {
                    join.require(&domain(d), &producer(p));
                    model.require(d, p);
                }
                Op::Result(d, p, n) => {
                    join.result(&domain(d), &producer(p), summary(n));
                    model.result(d, p, n);
                }
                Op::Evict(p) => {
                    join.evict(&producer(p), &format!("reason {n}"));
                    model.evict(p, &format!("reason {n}"));
                }
                Op::Changes => prop_assert_eq!(join.changes(), model.changes()),
            }
            let owing = |p: usize| model.all.iter().any(|(_, b, is)| *b == p && *is == Is::Owing);
            for p in 0..3 {
                prop_assert_eq!(join.owes(&producer(p)), owing(p));
            }
            let all: Vec<_> = (0..3).filter(|p| owing(*p)).map(producer).collect();
            prop_assert_eq!(join.settled(), all.is_empty());
            prop_assert_eq!(join.owing(), all);
            let report = join.report();
            for d in 0..3 {
                prop_assert_eq!(report.contains_key(&domain(d)), model.known(d));
                let joined = model.known(d) && model.standing(d) == Standing::Joined;
                prop_assert_eq!(join.joined(&domain(d)), joined);
                let Some(report) = report.get(&domain(d)) else { continue };
                prop_assert_eq!(report.joined(), joined);
                for p in 0..3 {
                    let is = model.all.iter().find(|(a, b, _)| (*a, *b) == (d, p));
                    let is = is.map(|(_, _, is)| is.clone());
                    let owes = report.pending.contains(&producer(p));
                    prop_assert_eq!(owes, is == Some(Is::Owing));
                    let (result, out) = match is {
                        Some(Is::In(n)) => (Some(summary(n)), None),
                        Some(Is::Out(reason)) => (None, Some(reason)),
                        Some(Is::Owing) | None => (None, None),
                    };
                    prop_assert_eq!(report.results.get(&producer(p)), result.as_ref());
                    prop_assert_eq!(report.evicted.get(&producer(p)), out.as_ref());
                }
            }
        }
    }
}
