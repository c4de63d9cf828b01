//! The program's own random numbers: xoshiro256++ seeded by splitmix64. Small, fast and the same on
//! every machine, so that a seed names one run for ever.

/// The increment of splitmix64; also the multiplier of a trace's digest.
pub(crate) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// One step of splitmix64: advances `state` and returns the next output.
pub(crate) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GOLDEN);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Appends `length` bytes made from `seed`: the seeded values of a trace are written this way.
pub(crate) fn expand_into(out: &mut Vec<u8>, seed: u64, length: usize) {
    let end = out.len() + length;
    out.reserve(length + 8);
    let mut state = seed;
    while out.len() < end {
        out.extend_from_slice(&splitmix64(&mut state).to_le_bytes());
    }
    out.truncate(end);
}

/// A stream of random numbers; equal seeds give equal streams.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self { state: std::array::from_fn(|_| splitmix64(&mut state)) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`; 0 when `bound` is 0. The bias (below `bound` / 2^64) does not matter
    /// to a workload.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in [low, high).
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A normally distributed number around 0 (Box and Muller's transform).
    pub(crate) fn normal(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        deviation * radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_outputs() {
        let mut state = 1_234_567;
        let outputs: Vec<u64> = (0..3).map(|_| splitmix64(&mut state)).collect();
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn expansion_is_cut_to_its_length_and_appends() {
        let mut long = Vec::new();
        expand_into(&mut long, 9, 21);
        let mut short = b"x".to_vec();
        expand_into(&mut short, 9, 5);
        assert_eq!(long.len(), 21);
        assert_eq!(&short[1..], &long[..5]);
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut random = Random::new(3);
        let mut sum = 0.0;
        for _ in 0..10_000 {
            assert!(random.below(7) < 7);
            assert!((2.0..3.0).contains(&random.between(2.0, 3.0)));
            sum += random.normal(1.0);
        }
        assert!((sum / 10_000.0_f64).abs() < 0.05, "mean {}", sum / 10_000.0);
        assert_eq!(random.below(0), 0);
    }
}
