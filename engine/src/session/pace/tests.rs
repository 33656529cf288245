use super::*;

const KIB: usize = 1_024;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

struct Arriving {
    count: usize,
    bytes: usize,
}

const NOTHING: Arriving = Arriving { count: 0, bytes: 0 };

/// Twenty times as much as either rate allows.
const FLOOD: Arriving = Arriving {
    count: 2,
    bytes: 5 * KIB,
};

/// A pace with a clock that its test moves on.
struct Bench {
    pace: Pace,
    start: Instant,
    now: Instant,
}

impl Bench {
    fn new(publishes_per_second: Option<u32>, bytes_per_second: Option<u32>) -> Self {
        let now = Instant::now();
        Self {
            pace: Pace::new(publishes_per_second, bytes_per_second, now),
            start: now,
            now,
        }
    }

    fn publishes() -> Self {
        Self::new(Some(100), None)
    }

    fn bytes() -> Self {
        Self::new(None, Some(512 * 1_024))
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn admit(&mut self, bytes: usize) -> bool {
        self.pace.admit(bytes, self.now)
    }

    fn arrive(&mut self, count: usize, bytes: usize) {
        for _ in 0..count {
            self.pace.arrived(bytes, self.now);
        }
    }

    /// Sends as many as there is room for now.
    fn burst(&mut self, bytes: usize) -> usize {
        let mut count = 0;
        while self.admit(bytes) {
            count += 1;
        }
        count
    }

    /// Waits for the deadline and sends what was held back: how long it took.
    #[track_caller]
    fn wait(&mut self, bytes: usize) -> Duration {
        let deadline = self.pace.deadline().expect("something is held back");
        let waited = deadline - self.now;
        self.now = deadline;
        assert!(self.admit(bytes), "the deadline was too early");
        waited
    }

    /// Sends without a pause while something arrives in each millisecond: when each message left.
    fn run(&mut self, length: Duration, bytes: usize, arriving: Arriving) -> Vec<Duration> {
        let end = self.now + length;
        let mut sent = Vec::new();
        while self.now < end {
            self.arrive(arriving.count, arriving.bytes);
            let count = self.burst(bytes);
            sent.extend(std::iter::repeat_n(self.elapsed(), count));
            self.now += millis(1);
        }
        sent
    }
}

/// How many lie within the second that holds the most.
fn fullest_second(sent: &[Duration]) -> usize {
    let within = |first: Duration| sent.partition_point(|time| *time <= first + seconds(1));
    (0..sent.len())
        .map(|first| within(sent[first]) - first)
        .max()
        .unwrap_or_default()
}

fn longest_gap(sent: &[Duration]) -> Duration {
    sent.windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

#[test]
fn a_burst_of_one_second_leaves_at_once_and_then_one_each_ten_milliseconds() {
    let mut bench = Bench::publishes();
    assert_eq!(bench.burst(5), 100);
    for _ in 0..50 {
        assert_eq!(bench.wait(5), millis(10));
        assert!(!bench.admit(5));
    }
}

#[test]
fn a_pause_fills_the_bucket_again_and_never_beyond_one_second() {
    let mut bench = Bench::publishes();
    bench.burst(5);
    bench.now += millis(300);
    assert_eq!(bench.burst(5), 30);
    bench.now += seconds(1_000);
    assert_eq!(bench.burst(5), 100);
}

#[test]
fn bytes_leave_at_their_rate() {
    let mut bench = Bench::bytes();
    assert_eq!(bench.burst(64 * KIB), 8);
    assert_eq!(bench.wait(64 * KIB), millis(125));
    assert!(!bench.admit(KIB));
    bench.now += millis(125);
    assert_eq!(bench.burst(KIB), 64);
}

#[test]
fn both_rates_are_kept() {
    let mut bench = Bench::new(Some(10), Some(1_000));
    assert_eq!(bench.burst(1), 10);
    bench.now += seconds(10);
    assert_eq!(bench.burst(500), 2);
    assert_eq!(bench.wait(500), millis(500));
}

#[test]
fn a_message_larger_than_the_bucket_waits_until_it_is_full_and_leaves_a_debt() {
    let mut bench = Bench::bytes();
    assert!(bench.admit(KIB));
    assert!(!bench.admit(1_024 * KIB));
    // 1 KiB takes 1.95 ms to come back.
    assert_eq!(bench.wait(1_024 * KIB), millis(2));
    assert!(!bench.admit(512));
    // A whole second for what was beyond the bucket, and 0.98 ms for the message.
    assert_eq!(bench.wait(512), millis(1_001));
}

#[test]
fn what_arrives_counts_as_well() {
    let mut bench = Bench::publishes();
    bench.arrive(60, 5);
    assert_eq!(bench.burst(5), 40);
    bench.now += seconds(1);
    bench.arrive(30, 5);
    assert_eq!(bench.burst(5), 70);
}

#[test]
fn what_arrives_leaves_a_debt_of_no_more_than_a_second() {
    let mut bench = Bench::publishes();
    bench.arrive(1_000_000, 5);
    bench.now += millis(1_010);
    assert_eq!(bench.burst(5), 1);
    bench.now += seconds(10);
    bench.arrive(1_000_000, 5);
    bench.now += seconds(2);
    assert_eq!(bench.burst(5), 100);
}

#[test]
fn what_arrives_never_makes_a_debt_of_what_was_sent_smaller() {
    let mut bench = Bench::bytes();
    assert!(bench.admit(4 * 512 * KIB));
    bench.arrive(1, KIB);
    assert!(!bench.admit(512 * KIB));
    assert_eq!(bench.wait(512 * KIB), seconds(4));
}

#[test]
fn no_flood_of_arrivals_takes_the_tenth_that_is_left_to_what_is_sent() {
    let mut bench = Bench::publishes();
    bench.burst(5);
    let sent = bench.run(seconds(60), 5, FLOOD);
    assert_eq!(sent.len(), 599);
    assert_eq!(longest_gap(&sent), millis(100));
}

#[test]
fn a_flood_leaves_a_tenth_to_bytes_too_whatever_the_size_of_a_message_is() {
    for bytes in [10, KIB, 100 * KIB] {
        let mut bench = Bench::bytes();
        bench.burst(bytes);
        let sent = bench.run(seconds(20), bytes, FLOOD);
        let tenth = 20 * 512 * KIB / 10;
        let left = sent.len() * bytes;
        assert!(
            (tenth - 100 * KIB..=tenth).contains(&left),
            "{left} of {tenth} bytes in messages of {bytes}"
        );
    }
}

#[test]
fn a_flood_holds_no_message_larger_than_the_bucket_back_for_good() {
    let mut bench = Bench::bytes();
    let sent = bench.run(seconds(100), 1_024 * KIB, FLOOD);
    assert_eq!(sent, [20, 40, 60, 80].map(seconds), "a tenth of the rate");
}

#[test]
fn one_that_comes_after_many_arrivals_waits_for_room_rather_than_for_the_reserve() {
    let mut bench = Bench::publishes();
    bench.now += seconds(10);
    bench.arrive(104, 5);
    assert!(!bench.admit(5));
    assert_eq!(bench.wait(5), millis(50));
}

#[test]
fn with_arrivals_below_the_rate_both_together_keep_to_it() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut bench = Bench::publishes();
    let mut passed = Vec::new();
    let mut sent = 0;
    for _ in 0..60_000 {
        // 50 a second on average.
        if rng.u32(..20) == 0 {
            bench.arrive(1, 5);
            passed.push(bench.elapsed());
        }
        let burst = bench.burst(5);
        sent += burst;
        passed.extend(std::iter::repeat_n(bench.elapsed(), burst));
        bench.now += millis(1);
    }
    assert!(fullest_second(&passed) <= 201);
    assert!((6_090..=6_100).contains(&passed.len()), "{}", passed.len());
    assert!(sent > 2_500, "{sent}");
}

#[test]
fn the_rate_holds_in_the_long_run_and_no_second_has_more_than_twice_as_many() {
    for (arriving, name) in [(NOTHING, "without arrivals"), (FLOOD, "with a flood")] {
        let mut bench = Bench::publishes();
        let sent = bench.run(seconds(60), 5, arriving);
        assert!(fullest_second(&sent) <= 200, "{name}");
        let (_, later) = sent.split_at(sent.partition_point(|time| *time < seconds(2)));
        // The fence posts at both ends of a closed second.
        assert!(fullest_second(later) <= 101, "{name}");
        assert!(sent.len() <= 100 + 60 * 100, "{name}");
    }
}

#[test]
fn no_second_has_more_than_twice_as_many_whatever_the_pauses_are() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut bench = Bench::publishes();
    let mut sent = Vec::new();
    for _ in 0..20_000 {
        if rng.u32(..200) == 0 {
            bench.now += millis(rng.u64(..2_000));
        }
        bench.arrive(rng.usize(..2), 5);
        let wanted = rng.usize(..20);
        for _ in 0..wanted {
            if bench.admit(5) {
                sent.push(bench.elapsed());
            }
        }
        bench.now += Duration::from_micros(rng.u64(..5_000));
    }
    let most = fullest_second(&sent);
    assert!((150..=200).contains(&most), "{most}");
    assert!(sent.len() as u128 <= 100 + bench.elapsed().as_millis() / 10);
}

#[test]
fn what_is_held_back_may_go_at_its_deadline_at_any_rate_and_not_a_millisecond_sooner() {
    let mut rng = fastrand::Rng::with_seed(1);
    for (publishes, bytes) in [(3, 7), (7, 1_000), (100, 524_288), (999, 999_983)] {
        let mut bench = Bench::new(Some(publishes), Some(bytes));
        for _ in 0..2_000 {
            let size = rng.usize(..2 * bytes as usize);
            if rng.bool() {
                bench.arrive(rng.usize(..3), size / 2);
            }
            bench.now += Duration::from_nanos(rng.u64(..10_000_000));
            if bench.admit(size) {
                assert_eq!(bench.pace.deadline(), None);
                continue;
            }
            let deadline = bench.pace.deadline().expect("it is held back");
            assert!(deadline > bench.now);
            let sooner = deadline - millis(1);
            if sooner > bench.now {
                bench.now = sooner;
                assert!(!bench.admit(size));
            }
            bench.wait(size);
        }
    }
}

#[test]
fn an_arrival_puts_the_deadline_off() {
    let mut bench = Bench::publishes();
    assert_eq!(bench.burst(5), 100);
    bench.arrive(1, 5);
    assert_eq!(bench.wait(5), millis(20));
    assert!(!bench.admit(5));
    bench.arrive(2, 5);
    assert_eq!(bench.wait(5), millis(30));
}

#[test]
fn time_counts_as_held_back_only_while_something_waits() {
    let mut bench = Bench::publishes();
    bench.burst(5);
    bench.now += millis(4);
    assert_eq!(bench.pace.held_back(bench.now), millis(4));
    assert!(!bench.admit(5));
    assert_eq!(bench.wait(5), millis(6));
    bench.now += millis(3);
    assert_eq!(bench.pace.held_back(bench.now), millis(10));
    assert!(!bench.admit(5));
    bench.now += millis(5);
    bench.pace.release(bench.now);
    assert_eq!(bench.pace.deadline(), None);
    bench.now += seconds(5);
    bench.pace.release(bench.now);
    assert_eq!(bench.pace.held_back(bench.now), millis(15));
}

#[test]
fn without_rates_everything_goes_at_once() {
    for rate in [None, Some(0)] {
        let mut bench = Bench::new(rate, rate);
        for _ in 0..10_000 {
            bench.arrive(1, usize::MAX);
            assert!(bench.admit(usize::MAX));
        }
        assert_eq!(bench.pace.deadline(), None);
        assert_eq!(bench.pace.held_back(bench.now), Duration::ZERO);
    }
}

#[test]
fn nothing_overflows() {
    let mut bench = Bench::new(Some(u32::MAX), Some(u32::MAX));
    bench.now += seconds(1 << 32);
    bench.arrive(3, usize::MAX);
    for _ in 0..2 {
        assert!(!bench.admit(usize::MAX));
        bench.wait(usize::MAX);
    }
    let mut bench = Bench::new(Some(1), Some(1));
    assert!(bench.admit(u32::MAX as usize));
    assert!(!bench.admit(1));
    assert!(bench.pace.deadline().is_some());
}
