use super::*;

const SCHEDULE: Schedule = Schedule {
    min_delay: seconds(1),
    max_delay: seconds(120),
    stable_after: seconds(30),
    spread: seconds(2),
};

/// So many draws that each tenth of a span is met.
const DRAWS: u64 = 1_000;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn backoff(seed: u64) -> Backoff {
    scheduled(SCHEDULE, seed)
}

fn scheduled(schedule: Schedule, seed: u64) -> Backoff {
    Backoff::new(schedule, Rng::with_seed(seed))
}

/// Draws the same delay many times: it lies between the two bounds, and everywhere between them.
#[track_caller]
fn assert_drawn_between(least: Duration, most: Duration, delay: impl Fn(u64) -> Duration) {
    let mut tenths = [0; 10];
    for seed in 0..DRAWS {
        let delay = delay(seed);
        assert!(
            (least..=most).contains(&delay),
            "{delay:?} is not between {least:?} and {most:?}"
        );
        let part = (delay - least).as_secs_f64() / (most - least).as_secs_f64();
        tenths[((part * 10.0) as usize).min(9)] += 1;
    }
    assert!(
        tenths.iter().all(|count| (50..=150).contains(count)),
        "unevenly drawn between {least:?} and {most:?}: {tenths:?}"
    );
}

#[test]
fn the_span_doubles_with_each_failure_up_to_the_cap_and_is_drawn_from_evenly() {
    for (failures, span) in [1, 2, 4, 8, 16, 32, 64, 119, 119].into_iter().enumerate() {
        assert_drawn_between(seconds(1), seconds(1 + span), |seed| {
            let mut backoff = backoff(seed);
            for _ in 0..failures {
                backoff.after_failure(Cause::Transient);
            }
            backoff.after_failure(Cause::Transient)
        });
    }
}

#[test]
fn at_the_cap_nobody_waits_for_exactly_the_cap() {
    let mut at_cap = 0;
    for seed in 0..DRAWS {
        let mut backoff = backoff(seed);
        for _ in 0..50 {
            let delay = backoff.after_failure(Cause::Transient);
            assert!(delay <= SCHEDULE.max_delay);
            at_cap += u32::from(delay == SCHEDULE.max_delay);
        }
    }
    assert_eq!(at_cap, 0);
}

#[test]
fn overload_starts_higher_and_grows_from_there() {
    for (failures, span) in [8, 16, 32].into_iter().enumerate() {
        assert_drawn_between(seconds(1), seconds(1 + span), |seed| {
            let mut backoff = backoff(seed);
            for _ in 0..failures {
                backoff.after_failure(Cause::Overload);
            }
            backoff.after_failure(Cause::Overload)
        });
    }
}

#[test]
fn overload_does_not_shorten_what_has_grown_further() {
    assert_drawn_between(seconds(1), seconds(33), |seed| {
        let mut backoff = backoff(seed);
        for _ in 0..5 {
            backoff.after_failure(Cause::Transient);
        }
        backoff.after_failure(Cause::Overload)
    });
}

#[test]
fn what_was_refused_waits_at_the_cap_at_once_and_other_trouble_behind_it_does_not() {
    assert_drawn_between(seconds(1), seconds(120), |seed| {
        backoff(seed).after_failure(Cause::Refused)
    });
    assert_drawn_between(seconds(1), seconds(3), |seed| {
        let mut backoff = backoff(seed);
        backoff.after_failure(Cause::Refused);
        backoff.after_failure(Cause::Transient)
    });
    assert_drawn_between(seconds(1), seconds(120), |seed| {
        backoff(seed).after_loss(Cause::Refused, seconds(3_600))
    });
}

#[test]
fn the_loss_of_a_stable_link_is_spread_and_starts_anew() {
    let lost = |seed| {
        let mut backoff = backoff(seed);
        backoff.after_failure(Cause::Refused);
        let delay = backoff.after_loss(Cause::Transient, seconds(30));
        (backoff, delay)
    };
    assert_drawn_between(Duration::ZERO, seconds(2), |seed| lost(seed).1);
    assert_drawn_between(seconds(1), seconds(2), |seed| {
        lost(seed).0.after_failure(Cause::Transient)
    });
}

#[test]
fn a_link_that_is_lost_before_it_is_stable_goes_on_with_the_growth() {
    assert_drawn_between(seconds(1), seconds(5), |seed| {
        let mut backoff = backoff(seed);
        backoff.after_failure(Cause::Transient);
        backoff.after_loss(Cause::Transient, Duration::from_millis(29_999));
        backoff.after_loss(Cause::Transient, Duration::ZERO)
    });
}

#[test]
fn overload_that_ends_a_stable_link_starts_higher_and_is_never_less_spread() {
    assert_drawn_between(seconds(1), seconds(9), |seed| {
        let mut backoff = backoff(seed);
        backoff.after_failure(Cause::Refused);
        backoff.after_loss(Cause::Overload, seconds(30))
    });
    let spread = Schedule {
        spread: seconds(20),
        ..SCHEDULE
    };
    assert_drawn_between(seconds(1), seconds(20), |seed| {
        scheduled(spread, seed).after_loss(Cause::Overload, seconds(30))
    });
}

/// The delay of a takeover that follows so many others, each of which ended a link that had lived so long.
fn taken_over(seed: u64, before: usize, lived: Duration) -> Duration {
    let mut backoff = backoff(seed);
    for _ in 0..before {
        backoff.after_loss(Cause::TakenOver, lived);
    }
    backoff.after_loss(Cause::TakenOver, lived)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn takeovers_grow_though_the_links_between_them_are_stable() {
    for lived in [Duration::ZERO, seconds(30), seconds(150)] {
        for (before, span) in [4_000, 8_000, 16_000, 32_000, 64_000, 119_000, 119_000]
            .into_iter()
            .enumerate()
        {
            let (least, most) = (millis(1_000 + span / 2), millis(1_000 + span));
            assert_drawn_between(least, most, |seed| taken_over(seed, before, lived));
        }
    }
}

#[test]
fn takeovers_start_anew_after_a_link_that_outlived_any_delay_of_another_client() {
    assert_drawn_between(seconds(3), seconds(5), |seed| {
        taken_over(seed, 5, millis(150_001))
    });
}

#[test]
fn takeovers_start_anew_after_a_link_that_was_lost_for_another_cause() {
    assert_drawn_between(seconds(3), seconds(5), |seed| {
        let mut backoff = backoff(seed);
        backoff.after_failure(Cause::TakenOver);
        backoff.after_failure(Cause::TakenOver);
        backoff.after_loss(Cause::Transient, Duration::ZERO);
        backoff.after_failure(Cause::TakenOver)
    });
}

#[test]
fn a_failed_attempt_between_takeovers_does_not_hide_them() {
    assert_drawn_between(seconds(5), seconds(9), |seed| {
        let mut backoff = backoff(seed);
        backoff.after_failure(Cause::TakenOver);
        backoff.after_failure(Cause::Transient);
        backoff.after_failure(Cause::TakenOver)
    });
}

#[test]
fn takeovers_and_failures_grow_apart_from_each_other() {
    assert_drawn_between(seconds(1), seconds(3), |seed| {
        let mut backoff = backoff(seed);
        backoff.after_failure(Cause::Transient);
        for _ in 0..5 {
            backoff.after_loss(Cause::TakenOver, Duration::ZERO);
        }
        backoff.after_failure(Cause::Transient)
    });
}

#[test]
fn nothing_overflows_however_often_it_is_used() {
    for cause in [
        Cause::Transient,
        Cause::Overload,
        Cause::Refused,
        Cause::TakenOver,
    ] {
        let mut backoff = backoff(1);
        for _ in 0..100_000 {
            let delay = backoff.after_failure(cause);
            assert!((SCHEDULE.min_delay..=SCHEDULE.max_delay).contains(&delay));
        }
        backoff.exponent = u32::MAX;
        backoff.takeovers = u32::MAX;
        for _ in 0..10 {
            assert!(backoff.after_failure(cause) <= SCHEDULE.max_delay);
        }
    }
}

#[test]
fn nothing_overflows_whatever_the_durations_are() {
    let ends = [Duration::ZERO, seconds(1), Duration::MAX];
    for min_delay in ends {
        for max_delay in ends {
            for spread in ends {
                let mut backoff = scheduled(
                    Schedule {
                        min_delay,
                        max_delay,
                        stable_after: spread,
                        spread,
                    },
                    1,
                );
                for cause in [
                    Cause::Transient,
                    Cause::Overload,
                    Cause::Refused,
                    Cause::TakenOver,
                ] {
                    for _ in 0..40 {
                        let delay = backoff.after_failure(cause);
                        assert!((min_delay..=max_delay.max(min_delay)).contains(&delay));
                    }
                    backoff.after_loss(cause, Duration::MAX);
                    backoff.after_loss(cause, Duration::ZERO);
                }
            }
        }
    }
}

#[test]
fn a_cap_below_the_shortest_delay_leaves_just_the_shortest_delay() {
    let mut backoff = scheduled(
        Schedule {
            min_delay: seconds(5),
            max_delay: seconds(1),
            ..SCHEDULE
        },
        1,
    );
    for cause in [Cause::Transient, Cause::Refused, Cause::TakenOver] {
        assert_eq!(backoff.after_failure(cause), seconds(5));
    }
}

#[test]
fn without_a_shortest_delay_the_growth_starts_from_a_millisecond() {
    let schedule = Schedule {
        min_delay: Duration::ZERO,
        ..SCHEDULE
    };
    for (failures, most) in [(0, millis(1)), (10, millis(1_024)), (20, seconds(120))] {
        assert_drawn_between(Duration::ZERO, most, |seed| {
            let mut backoff = scheduled(schedule, seed);
            for _ in 0..failures {
                backoff.after_failure(Cause::Transient);
            }
            backoff.after_failure(Cause::Transient)
        });
    }
}
