//! From probes to health: without I/O.

/// How probes went. Nothing is known until one of the thresholds is reached for the first time.
#[derive(Debug)]
pub(super) struct Course {
    success_threshold: u32,
    failure_threshold: u32,
    /// How the last one went, and how many before it went the same way in a row.
    streak: Option<(bool, u32)>,
    healthy: Option<bool>,
}

impl Course {
    pub fn new(success_threshold: u32, failure_threshold: u32) -> Self {
        Self {
            success_threshold,
            failure_threshold,
            streak: None,
            healthy: None,
        }
    }

    /// A probe has succeeded or failed; whether the application's health is another one now.
    pub fn note(&mut self, success: bool) -> bool {
        let length = match self.streak {
            Some((same, length)) if same == success => length.saturating_add(1),
            Some(_) | None => 1,
        };
        self.streak = Some((success, length));
        let threshold = match success {
            true => self.success_threshold,
            false => self.failure_threshold,
        };
        let changed = length >= threshold && self.healthy != Some(success);
        if changed {
            self.healthy = Some(success);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes (`+` a success, `-` a failure), and after which of them the health is another one.
    fn script(success: u32, failure: u32, probes: &str) -> String {
        let mut course = Course::new(success, failure);
        let note = |probe: char| match (course.note(probe == '+'), probe) {
            (false, _) => '.',
            (true, '+') => 'h',
            (true, _) => 'u',
        };
        probes.chars().map(note).collect()
    }

    #[test]
    fn thresholds_are_of_probes_in_a_row_and_changes_alone_are_told() {
        for (success, failure, probes, told) in [
            (1, 3, "+++---+-+--+---", "h....uh.......u"),
            (1, 3, "---+", "..uh"),
            (2, 1, "+-++-", ".u.hu"),
            (1, 1, "++--++", "h.u.h."),
        ] {
            assert_eq!(script(success, failure, probes), told, "{probes}");
        }
    }
}
