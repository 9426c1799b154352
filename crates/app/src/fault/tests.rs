#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::StatusCode;

use super::{ErrorType, Fault, FaultConfig, FaultInjector};

const NONE: FaultConfig = FaultConfig {
    error_rate: 0.0,
    error_type: ErrorType::HttpError,
    error_code: StatusCode::INTERNAL_SERVER_ERROR,
    error_delay: Duration::from_secs(2),
    rate_limit: 0.0,
    rate_limit_code: StatusCode::SERVICE_UNAVAILABLE,
};

fn failed(injector: &FaultInjector, requests: usize) -> Vec<bool> {
    (0..requests).map(|_| injector.next().is_some()).collect()
}

#[test]
fn errors_are_spread_evenly_at_their_rate() {
    for (error_rate, failures) in [(0.0, 0), (0.1, 10), (0.25, 25), (0.75, 75), (1.0, 100)] {
        let faults = failed(&FaultInjector::new(FaultConfig { error_rate, ..NONE }), 100);
        assert_eq!(
            faults.iter().filter(|failed| **failed).count(),
            failures,
            "{error_rate}"
        );
    }
    let every_second = FaultInjector::new(FaultConfig {
        error_rate: 0.5,
        ..NONE
    });
    assert_eq!(failed(&every_second, 4), [false, true, false, true]);
}

#[test]
fn a_delay_ends_in_the_error_too() {
    let config = FaultConfig {
        error_rate: 1.0,
        error_type: ErrorType::Delay,
        ..NONE
    };
    let Fault {
        after,
        code,
        reason: _,
    } = FaultInjector::new(config).next().unwrap();
    assert_eq!((after, code), (NONE.error_delay, NONE.error_code));
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_refills_with_time() {
    let injector = FaultInjector::new(FaultConfig {
        rate_limit: 2.0,
        ..NONE
    });
    assert_eq!(failed(&injector, 3), [false, false, true]);
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(failed(&injector, 2), [false, true]);
    assert_eq!(injector.next().unwrap().code, NONE.rate_limit_code);
}
