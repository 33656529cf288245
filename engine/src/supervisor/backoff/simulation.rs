//! Whole fleets that lose their server, in simulated time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;

const FLEET: usize = 10_000;

const SCHEDULE: Schedule = Schedule {
    min_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(120),
    stable_after: Duration::from_secs(30),
    spread: Duration::from_secs(20),
};

/// Attempts a second of a fleet that waits at the cap: half of the cap is what a delay amounts to on average.
const STEADY: f64 = FLEET as f64 / 60.0;

fn fleet(seed: u64) -> impl Iterator<Item = Backoff> {
    let mut rng = Rng::with_seed(seed);
    (0..FLEET).map(move |_| Backoff::new(SCHEDULE, rng.fork()))
}

/// Long ago enough that every link was stable.
const LIVED: Duration = Duration::from_secs(3_600);

/// A fleet that loses its server at once, and comes back to one that admits so many attempts in each second and fails
/// the others: the attempts of each second.
fn stampede(seed: u64, lost: Cause, refused: Cause, admitted: usize) -> Vec<usize> {
    let mut clients: Vec<Backoff> = fleet(seed).collect();
    let mut attempts: BinaryHeap<_> = clients
        .iter_mut()
        .enumerate()
        .map(|(client, backoff)| Reverse((backoff.after_loss(lost, LIVED), client)))
        .collect();
    let mut seconds = Vec::new();
    while let Some(Reverse((now, client))) = attempts.pop() {
        let second = now.as_secs() as usize;
        seconds.resize(second + 1, 0);
        seconds[second] += 1;
        if seconds[second] > admitted {
            let next = now + clients[client].after_failure(refused);
            attempts.push(Reverse((next, client)));
        }
    }
    seconds
}

/// A fleet whose server is gone for so many seconds and well afterwards: the attempts of each second.
fn outage(seed: u64, length: usize) -> Vec<usize> {
    let mut seconds = vec![0; length + SCHEDULE.max_delay.as_secs() as usize + 1];
    for mut backoff in fleet(seed) {
        let mut now = backoff.after_loss(Cause::Transient, LIVED);
        while now.as_secs() < length as u64 {
            seconds[now.as_secs() as usize] += 1;
            now += backoff.after_failure(Cause::Transient);
        }
        seconds[now.as_secs() as usize] += 1;
    }
    seconds
}

/// Two clients with one id for an hour, each of which throws the other out whenever it comes: how often that happens.
fn duel(seed: u64) -> usize {
    let mut clients: Vec<Backoff> = fleet(seed).take(2).collect();
    let mut takeovers = 0;
    let mut online = 0;
    let mut lived = LIVED;
    let mut time = Duration::ZERO;
    while time < Duration::from_secs(3_600) {
        takeovers += 1;
        lived = clients[online].after_loss(Cause::TakenOver, lived);
        online = 1 - online;
        time += lived;
    }
    takeovers
}

/// That the peak and the end of a stampede lie within the bounds that a service of this size is promised.
#[track_caller]
fn assert_orderly(seconds: &[usize]) {
    let peak = seconds.iter().max().copied().unwrap_or_default();
    let back = seconds.len();
    assert!(peak < 1_000, "{peak} attempts in the peak second");
    assert!(back <= 120, "all are back after {back} s only");
}

// Over 20 seeds: 539 to 601 attempts in the peak second, all back after 21 to 23 s.
#[test]
fn a_fleet_that_is_refused_for_want_of_room_comes_back_in_order() {
    assert_orderly(&stampede(1, Cause::Transient, Cause::Transient, 500));
}

// Over 20 seeds: 531 to 582 attempts in the peak second, all back after 29 to 37 s.
#[test]
fn a_fleet_that_is_told_of_overload_comes_back_in_order() {
    assert_orderly(&stampede(1, Cause::Transient, Cause::Overload, 500));
}

// Over 20 seeds: 569 to 606 attempts in the peak second, all back after 48 to 56 s, and once after 83 s.
#[test]
fn a_fleet_that_was_thrown_out_by_overload_comes_back_in_order() {
    assert_orderly(&stampede(1, Cause::Overload, Cause::Overload, 500));
}

// Over 20 seeds: 120 to 221 attempts in a second from the tenth to the fifteenth minute.
#[test]
fn a_fleet_without_a_server_knocks_evenly() {
    let seconds = outage(1, 900);
    for (second, attempts) in seconds.iter().enumerate().take(900).skip(600) {
        let share = *attempts as f64 / STEADY;
        assert!(
            (0.6..=1.4).contains(&share),
            "{attempts} attempts in second {second}, where {STEADY} are to be expected"
        );
    }
}

// Over 20 seeds: 169 to 188 attempts in the peak second.
#[test]
fn a_server_that_comes_back_after_three_hours_sees_no_rush() {
    let length = 3 * 3_600;
    let seconds = outage(1, length);
    let back = &seconds[length..];
    let peak = back.iter().max().copied().unwrap_or_default();
    assert!(
        peak as f64 <= 1.5 * STEADY,
        "{peak} attempts in the peak second, where {STEADY} are to be expected"
    );
    assert!(peak > 0);
}

// Over 1,000 seeds: 45 to 52 takeovers.
#[test]
fn two_clients_with_one_id_take_over_from_each_other_rarely() {
    let takeovers = duel(1);
    assert!(takeovers < 60, "{takeovers} takeovers in an hour");
}
