//! The endpoints that one request has been to, without memory of its own.

/// Most endpoints that are tried for one request, whatever its route says: with the default time of 5 s for a
/// connection, a client would wait 35 s for the last to begin.
pub const TRIES_MAX: usize = 8;

/// Endpoints by index.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    indices: [u32; TRIES_MAX],
    count: usize,
}

impl Tried {
    /// Adds one; `false` when there is no room, and so no further try.
    pub fn push(&mut self, index: usize) -> bool {
        let (Some(place), Ok(index)) = (self.indices.get_mut(self.count), u32::try_from(index)) else { return false };
        *place = index;
        self.count += 1;
        true
    }

    /// Whether one is among them.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.indices.iter().take(self.count).any(|tried| *tried as usize == index)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// None yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_it_was_told_and_has_an_end() {
        let mut tried = Tried::default();
        assert!(tried.is_empty() && !tried.contains(0));
        for index in 0..TRIES_MAX {
            assert!(tried.push(index * 3));
        }
        assert!(!tried.push(1));
        assert!((0..TRIES_MAX * 3).all(|index| tried.contains(index) == (index % 3 == 0)));
        assert_eq!(tried.len(), TRIES_MAX);
    }
}
