//! Randomness for tests that is the same every time.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

/// xorshift64*: small, seeded, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    pub fn octets(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A text of pieces that mean something to parsers.
    pub fn pieces(&mut self, pieces: &[&str], most: usize) -> String {
        (0..=self.below(most))
            .map(|_| pieces[self.below(pieces.len())])
            .collect()
    }

    pub fn one_of<T>(&mut self, of: &[T]) -> T
    where
        T: Clone,
    {
        of[self.below(of.len())].clone()
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
