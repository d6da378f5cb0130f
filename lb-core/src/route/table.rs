//! A map from paths to values that is small where it has few: most hosts have one to three paths, and ten thousand hosts
//! with a hash table each would take megabytes. Comparing a handful of texts is also faster than hashing one.

use std::collections::HashMap;

/// Entries up to which they are compared one by one.
const FEW_MAX: usize = 8;

/// Maps texts to values.
#[derive(Debug)]
pub enum Table<V> {
    /// In the order of insertion.
    Few(Vec<(Box<str>, V)>),
    /// Hashed.
    Many(Box<HashMap<Box<str>, V>>),
}

impl<V> Table<V> {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Few(few) if few.is_empty())
    }

    /// The value of a text.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<&V> {
        match self {
            Self::Few(few) => few.iter().find(|(key, _)| **key == *text).map(|(_, value)| value),
            Self::Many(many) => many.get(text),
        }
    }

    /// The value of a text, made when there is none yet; and whether it was made now.
    pub fn get_or_insert_with(&mut self, text: &str, make: impl FnOnce() -> V) -> (&mut V, bool) {
        let new = self.get(text).is_none();
        if new {
            self.insert(text.into(), make());
        }
        let value = match self {
            Self::Few(few) => few.iter_mut().find(|(key, _)| **key == *text).map(|(_, value)| value),
            Self::Many(many) => many.get_mut(text),
        };
        (value.expect("it was there, or is now"), new)
    }

    fn insert(&mut self, text: Box<str>, value: V) {
        match self {
            Self::Few(few) if few.len() < FEW_MAX => {
                few.reserve_exact(1);
                few.push((text, value));
            }
            Self::Few(few) => {
                let mut many: HashMap<Box<str>, V> = std::mem::take(few).into_iter().collect();
                many.insert(text, value);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => drop(many.insert(text, value)),
        }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_alike() {
        let mut table = Table::default();
        assert!(table.is_empty());
        for number in 0..3 * FEW_MAX {
            assert_eq!(table.get(&number.to_string()), None);
            assert_eq!(table.get_or_insert_with(&number.to_string(), || number), (&mut number.clone(), true));
            assert_eq!(table.get_or_insert_with(&number.to_string(), || 0), (&mut number.clone(), false));
            let all = (0..=number).all(|known| table.get(&known.to_string()) == Some(&known));
            assert!(all && !table.is_empty(), "{number}");
        }
    }
}
