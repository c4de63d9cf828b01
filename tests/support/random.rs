//! One seed, always printed, repeats a run.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of this run: `BWTREE_SEED` if it is set, else the time. Prints it with the command that
/// repeats the run.
///
/// # Panics
///
/// If `BWTREE_SEED` is not a number.
#[must_use]
#[expect(clippy::print_stderr, reason = "a run that can't be repeated is worth nothing")]
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("BWTREE_SEED") {
        Ok(text) => match text.trim().parse() {
            Ok(seed) => seed,
            Err(error) => panic!("BWTREE_SEED={text} is not a number: {error}"),
        },
        Err(_) => {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64)
        }
    };
    eprintln!("{test}: seed {seed}; repeat: BWTREE_SEED={seed} cargo test -p bwtree-tests {test}");
    seed
}

/// How much of it this run does: what the variable says, else `usual`.
///
/// # Panics
///
/// If it is not a number.
#[must_use]
pub fn amount(variable: &str, usual: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else { return usual };
    match text.trim().parse() {
        Ok(amount) => amount,
        Err(error) => panic!("{variable}={text} is not a number: {error}"),
    }
}

/// A generator of numbers that look random: xoshiro256**, its state filled by splitmix64.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// The generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self([(); 4].map(|()| split_mix(&mut state)))
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let out = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        out
    }

    /// A number below `end`.
    ///
    /// # Panics
    ///
    /// If `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "no number is below 0");
        // The high half of the product; its bias is below end / 2^64.
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// A number below `end`, as an index.
    pub fn index(&mut self, end: usize) -> usize {
        self.below(end as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// Bytes, up to `longest` of them.
    pub fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let len = self.index(longest + 1);
        (0..len).map(|_| self.next_u64() as u8).collect()
    }

    /// Brings `items` into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.index(end + 1));
        }
    }

    /// Another generator, for a thread or a part of the run.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mix(*state)
}

/// Whether a test is to have its full size: `BWTREE_FULL=1`.
#[must_use]
pub fn is_full_size() -> bool {
    amount("BWTREE_FULL", 0) != 0
}

/// Keys of which neighbours in number lie anywhere, each once.
#[must_use]
pub fn scattered_key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(number).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// A number for each number, in no order, one to one: keys that are all different.
#[must_use]
pub fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_run() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn every_number_below_the_end_comes_about_equally_often() {
        let mut random = Random::new(1);
        let mut counts = [0; 10];
        for _ in 0..100_000 {
            counts[random.index(10)] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn shuffling_keeps_the_items() {
        let mut random = Random::new(1);
        let mut items: Vec<u32> = (0..100).collect();
        random.shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_have_every_length_up_to_the_longest() {
        let mut random = Random::new(1);
        let lengths: std::collections::BTreeSet<usize> =
            (0..1000).map(|_| random.bytes(3).len()).collect();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
