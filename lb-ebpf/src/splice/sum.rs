//! The internet checksum, as far as a change of some fields changes it (RFC 1624).
//!
//! Goes in: what a field was and what it is. Comes out: a difference in ones' complement. Does not do: sums over whole
//! packets. Byte order does not matter: words are taken as they lie in memory, and so is the checksum.

/// A difference that grows with each field. It has room for a million fields before it is folded.
#[derive(Clone, Copy)]
pub struct Difference(u64);

impl Difference {
    pub const NONE: Self = Self(0);

    /// A field that begins at an even offset.
    #[inline(always)]
    pub fn field(&mut self, old: u32, new: u32) {
        self.0 += u64::from(!old) + u64::from(new);
    }

    /// A field that begins at any offset: at an odd one its bytes lie in the other halves of words.
    #[inline(always)]
    pub fn field_at(&mut self, offset: usize, old: u32, new: u32) {
        let mut one = Self::NONE;
        one.field(old, new);
        self.0 += u64::from(if offset & 1 == 1 { one.folded().rotate_left(8) } else { one.folded() });
    }

    #[inline(always)]
    pub fn add(&mut self, other: Self) {
        self.0 += u64::from(other.folded());
    }

    /// In 32 bits, as the kernel's helpers take it.
    #[inline(always)]
    pub fn folded(self) -> u32 {
        let once = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((once & 0xffff_ffff) + (once >> 32)) as u32
    }

    /// The checksum after the change.
    #[inline(always)]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(u64::from(!checksum) + u64::from(self.folded()))
    }
}

/// A sum of less than 2^48 in 16 bits.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
