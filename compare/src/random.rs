//! Random numbers: uniform, and with few that come often (zipf).

/// Splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// From 0 to 1, without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Spreads numbers over all bits, one to one: the nth random key.
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Ranks from 0 on, rank r with a probability in proportion to (r + 1)^-0.99, as YCSB draws them.
#[derive(Debug)]
pub(crate) struct Zipf {
    count: u64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    pub(crate) fn new(count: u64) -> Self {
        let zeta = zeta(count);
        let below = 1.0 - (2.0 / count as f64).powf(1.0 - Self::THETA);
        Self { count, zeta, eta: below / (1.0 - zeta_of_two() / zeta) }
    }

    pub(crate) fn rank(&self, random: &mut Random) -> u64 {
        let u = random.unit();
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < zeta_of_two() {
            return 1;
        }
        let base = self.eta * u - self.eta + 1.0;
        let rank = self.count as f64 * base.powf(1.0 / (1.0 - Self::THETA));
        (rank as u64).min(self.count - 1)
    }

    /// A number below the count, the frequent ones scattered over all.
    pub(crate) fn scrambled(&self, random: &mut Random) -> u64 {
        mix(self.rank(random) ^ 0x5bd1_e995) % self.count
    }
}

fn zeta_of_two() -> f64 {
    1.0 + 0.5_f64.powf(Zipf::THETA)
}

/// The sum of n^-theta; after the first terms as an integral, whose error is far below a millionth.
fn zeta(count: u64) -> f64 {
    const TERMS: u64 = 10_000;
    let head: f64 = (1..=count.min(TERMS)).map(|n| (n as f64).powf(-Zipf::THETA)).sum();
    if count <= TERMS {
        return head;
    }
    let whole = |x: f64| x.powf(1.0 - Zipf::THETA) / (1.0 - Zipf::THETA);
    head + whole(count as f64 + 0.5) - whole(TERMS as f64 + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integral_is_the_sum() {
        let sum: f64 = (1..=200_000).map(|n| f64::from(n).powf(-Zipf::THETA)).sum();
        assert!((zeta(200_000) / sum - 1.0).abs() < 1e-6);
    }

    #[test]
    fn zipf_has_its_shape() {
        let (zipf, mut random) = (Zipf::new(10_000), Random::new(7));
        let mut seen = vec![0_u32; 10_000];
        const DRAWS: u32 = 400_000;
        for _ in 0..DRAWS {
            seen[zipf.rank(&mut random) as usize] += 1;
        }
        for rank in [0_usize, 1, 9, 99] {
            let expected = f64::from(DRAWS) * (rank as f64 + 1.0).powf(-0.99) / zeta(10_000);
            let ratio = f64::from(seen[rank]) / expected;
            assert!((0.75..1.33).contains(&ratio), "rank {rank}: {ratio} of what it should be");
        }
        let half: u32 = seen[..5000].iter().sum();
        assert!(half > DRAWS / 10 * 9, "the first half has {half} of {DRAWS}");
    }

    #[test]
    fn frequent_numbers_are_scattered() {
        let (zipf, mut random) = (Zipf::new(1000), Random::new(7));
        let mut seen = vec![0_u32; 1000];
        for _ in 0..100_000 {
            seen[zipf.scrambled(&mut random) as usize] += 1;
        }
        let low: u32 = seen[..500].iter().sum();
        assert!((20_000..80_000).contains(&low), "{low} of 100000 in the lower half");
        assert!(seen.iter().max().is_some_and(|&most| most > 10_000));
    }

    #[test]
    fn uniform_numbers_are_below_their_limit_and_cover_it() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 10];
        (0..10_000).for_each(|_| seen[random.below(10) as usize] += 1);
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
    }
}
