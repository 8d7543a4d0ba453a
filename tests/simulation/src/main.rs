//! Runs the worlds of many seeds, and names those in which a promise was broken.
fn main() {
    let from: u64 = std::env::args().nth(1).map_or(0, |a| a.parse().unwrap());
    let n: u64 = std::env::args().nth(2).map_or(10, |a| a.parse().unwrap());
    let start = std::time::Instant::now();
    for seed in from..from + n {
        match if n == 1 {
            simulation::trace(seed)
        } else {
            simulation::run(seed)
        } {
            Ok(stats) => {
                if n < 20 {
                    println!("{seed} {stats:?}")
                }
            }
            Err(failure) => println!(
                "{}\nseed {seed} at {:?}: {}",
                failure.trail.join("\n"),
                failure.at,
                failure.what
            ), //"seed {seed} at {:?}: {}", failure.at, failure.what),
        }
    }
    println!("{:?}", start.elapsed());
}
