//! A list that mostly has one entry, and then takes no room beside itself.
//!
//! Goes in: values. Comes out: the same, in the order in which they came. Does not look at what they are.

/// Mostly one.
#[derive(Debug)]
pub enum Few<T> {
    /// One.
    One(T),
    /// Any number.
    Many(Vec<T>),
}

impl<T> Few<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Adds one.
    pub fn push(&mut self, value: T) {
        *self = match std::mem::replace(self, Self::Many(Vec::new())) {
            Self::One(one) => Self::Many(vec![one, value]),
            Self::Many(mut many) => {
                many.push(value);
                Self::Many(many)
            }
        };
    }

    /// Takes out what is meant, and answers whether nothing is left.
    pub fn remove(&mut self, meant: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::One(one) => meant(one),
            Self::Many(many) => {
                many.retain(|value| !meant(value));
                many.is_empty()
            }
        }
    }
}
