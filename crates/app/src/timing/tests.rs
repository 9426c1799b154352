use std::time::Duration;

use meltemi_lifecycle::Random;

use super::{Timing, Variance};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn percentiles_come_at_their_rates() {
    let timing = Timing::new(ms(1), ms(10), ms(100), Variance::Percent(0));
    let random = Random::seeded(7);
    let mut counts = [0; 3];
    for _ in 0..10_000 {
        let time = timing.draw(&random);
        counts[[ms(1), ms(10), ms(100)]
            .iter()
            .position(|known| *known == time)
            .unwrap_or_default()] += 1;
    }
    assert!((8_900..9_100).contains(&counts[0]), "{counts:?}");
    assert!((800..1_000).contains(&counts[1]), "{counts:?}");
    assert!((50..150).contains(&counts[2]), "{counts:?}");
}

#[test]
fn unset_percentiles_follow_the_lower_one_and_variance_adds() {
    let random = Random::seeded(7);
    for (variance, most) in [
        (Variance::Percent(50), ms(15)),
        (Variance::UpTo(ms(40)), ms(50)),
    ] {
        let timing = Timing::new(ms(10), ms(0), ms(0), variance);
        let times: Vec<_> = (0..1000).map(|_| timing.draw(&random)).collect();
        assert!(
            times.iter().all(|time| (ms(10)..=most).contains(time)),
            "{variance:?}"
        );
        assert!(
            times
                .iter()
                .any(|time| *time > ms(10) + (most - ms(10)) / 2),
            "{variance:?}"
        );
    }
}
