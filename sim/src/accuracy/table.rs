//! A case's runs in one row of Markdown.

use super::Ran;
use super::cases::Case;
use super::measure::Energy;

/// A set of signed errors.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Errors {
    /// How many.
    pub count: u64,
    sum: f64,
    largest: f64,
}

impl Errors {
    /// Takes one in.
    pub fn add(&mut self, error: f64) {
        self.count += 1;
        self.sum += error;
        if error.abs() > self.largest.abs() {
            self.largest = error;
        }
    }

    /// Their mean, with its sign.
    #[must_use]
    pub fn bias(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The one furthest from 0, with its sign.
    #[must_use]
    pub fn largest(&self) -> Option<f64> {
        (self.count > 0).then_some(self.largest)
    }
}

/// What a timer would have reported.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Timer {
    /// Its period, in milliseconds.
    pub ms: u64,
    /// Phases with a count that is missing or wrong.
    pub wrong: u64,
    /// Of its requests, where there is a number.
    pub requests: Errors,
    /// Of its energies, as a share.
    pub energy: Errors,
}

/// All runs of a case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Runs.
    pub runs: u64,
    /// Phases.
    pub phases: u64,
    /// Those that are called clean.
    pub clean: u64,
    /// Those that are called clean and are not what happened.
    pub silently_wrong: u64,
    /// Of the clean ones: requests, prompt tokens, output tokens.
    pub counts: [Errors; 3],
    /// Of the requests of the others, where a number is given.
    pub said: Errors,
    /// Energies that are given, and refused; a GPU and phase each.
    pub given: u64,
    /// Those that are refused.
    pub refused: u64,
    /// Those whose bounds hold the truth.
    pub inside: u64,
    /// Of the energies given, as a share of the truth.
    pub energy: Errors,
    /// Half the bounds' width, as a share of the truth.
    pub bounds: Errors,
    /// What timers would have reported.
    pub timers: Vec<Timer>,
}

impl Row {
    /// Takes a run in.
    pub fn add(&mut self, ran: &Ran) {
        self.runs += 1;
        for phase in &ran.phases {
            self.phases += 1;
            self.clean += u64::from(phase.clean);
            self.silently_wrong += u64::from(phase.silently_wrong());
            if phase.clean {
                for (errors, error) in self.counts.iter_mut().zip(phase.counts) {
                    error.into_iter().for_each(|error| errors.add(error));
                }
            } else {
                phase.counts[0].into_iter().for_each(|error| self.said.add(error));
            }
            for energy in &phase.energies {
                self.energy(energy);
            }
            for (place, (ms, naive)) in phase.naive.iter().enumerate() {
                if self.timers.len() <= place {
                    self.timers.push(Timer { ms: *ms, ..Timer::default() });
                }
                let timer = &mut self.timers[place];
                timer.wrong += u64::from(naive.counts.iter().any(|error| *error != Some(0.0)));
                naive.counts[0].into_iter().for_each(|error| timer.requests.add(error));
                naive.energy.into_iter().for_each(|error| timer.energy.add(error));
            }
        }
    }

    fn energy(&mut self, energy: &Energy) {
        let Energy::Given { error, truth, .. } = energy else {
            self.refused += 1;
            return;
        };
        self.given += 1;
        self.inside += u64::from(energy.inside() == Some(true));
        energy.relative().into_iter().for_each(|error| self.energy.add(error));
        if let Some(error) = error
            && *truth > 0.0
        {
            self.bounds.add(error / truth);
        }
    }

    /// Whether the truth lay inside at least 99 of 100 bounds.
    #[must_use]
    pub fn bounds_hold(&self) -> bool {
        self.inside * 100 >= self.given * 99
    }
}

/// A number without digits that say nothing.
fn short(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) if value.abs() >= 10.0 => format!("{value:+.0}"),
        Some(value) => format!("{value:+.2}"),
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| {
        let value = value * 100.0;
        if value.abs() < 0.0005 { "0 %".to_owned() } else { format!("{value:+.3} %") }
    })
}

/// The two tables, as Markdown: of what is counted, and of energy.
#[must_use]
pub fn markdown(rows: &[(Case, Row)]) -> String {
    format!("{}\n{}", counts(rows), energies(rows))
}

fn counts(rows: &[(Case, Row)]) -> String {
    let mut text = String::from(
        "| case | what is the matter | phases | clean | said not to be | silently wrong | \
         clean: bias of requests / prompt / output tokens | clean: largest error | \
         not clean: largest error of requests | timer 333 ms: phases wrong, bias, largest | \
         timer 1 s: phases wrong, bias, largest |\n|---|---|--:|--:|--:|--:|---|---|--:|---|---|\n",
    );
    for (case, row) in rows {
        let each = |of: fn(&Errors) -> Option<f64>| {
            row.counts.iter().map(|errors| short(of(errors))).collect::<Vec<_>>().join(" / ")
        };
        let timers: Vec<String> = row
            .timers
            .iter()
            .map(|timer| {
                let (bias, largest) = (timer.requests.bias(), timer.requests.largest());
                format!("{}, {}, {}", timer.wrong, short(bias), short(largest))
            })
            .collect();
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            case.name,
            case.what,
            row.phases,
            row.clean,
            row.phases - row.clean,
            row.silently_wrong,
            each(Errors::bias),
            each(Errors::largest),
            short(row.said.largest()),
            timers.join(" | "),
        ));
    }
    text
}

fn energies(rows: &[(Case, Row)]) -> String {
    let mut text = String::from(
        "| case | energies | given | refused | bias | largest error | bounds: mean, widest | \
         truth inside | timer 333 ms: bias, largest | timer 1 s: bias, largest |\n\
         |---|--:|--:|--:|--:|--:|---|--:|---|---|\n",
    );
    for (case, row) in rows {
        let inside = (row.given > 0).then(|| 100.0 * row.inside as f64 / row.given as f64);
        let timers: Vec<String> = row
            .timers
            .iter()
            .map(|timer| {
                format!("{}, {}", percent(timer.energy.bias()), percent(timer.energy.largest()))
            })
            .collect();
        let plain = |share: Option<f64>| {
            share.map_or("–".to_owned(), |share| format!("±{:.3} %", share * 100.0))
        };
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} | {}, {} | {} | {} |\n",
            case.name,
            row.given + row.refused,
            row.given,
            row.refused,
            percent(row.energy.bias()),
            percent(row.energy.largest()),
            plain(row.bounds.bias()),
            plain(row.bounds.largest()),
            inside.map_or("–".to_owned(), |inside| format!("{inside:.1} %")),
            timers.join(" | "),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bias_keeps_signs_and_the_largest_error_its_own() {
        let mut errors = Errors::default();
        assert_eq!((errors.bias(), errors.largest()), (None, None));
        for error in [1.0, -3.0, 1.0, 1.0] {
            errors.add(error);
        }
        assert_eq!((errors.bias(), errors.largest()), (Some(0.0), Some(-3.0)));
    }

    #[test]
    fn one_bound_in_a_hundred_may_miss() {
        let row = |inside, given| Row { inside, given, ..Row::default() };
        assert!(row(0, 0).bounds_hold() && row(99, 100).bounds_hold());
        assert!(!row(98, 100).bounds_hold());
    }
}
