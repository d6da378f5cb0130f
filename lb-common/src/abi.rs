//! How a type crosses between kernel and userspace: the macro [`abi!`](crate::abi!).
//!
//! Owns: the rules that make the bytes of a map key or value the same on both sides, and the only `unsafe` of this
//! crate. Goes in: a struct of integers and byte arrays. Comes out: the struct with its layout fixed and checked.
//! Does not do: conversions; each type has its own.
//!
//! The rules: `repr(C)`; integers and byte arrays only; padding is written out as `reserved` bytes and the size is
//! asserted at compile time, because the kernel hashes a key with its padding; integers are in the byte order of the
//! machine unless the field says otherwise (both sides run on one machine).

/// Bytes that may cross: no pointer, no padding, every bit pattern is a value.
pub trait Plain: Copy {}

impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl<const N: usize> Plain for [u8; N] {}

/// Answers the size of a [`Plain`] field; a field of another type does not compile.
#[doc(hidden)]
#[must_use]
pub const fn size<T: Plain>() -> usize {
    size_of::<T>()
}

/// Defines a type of the contract. The number is its size in bytes, which must be the sum of its fields.
#[macro_export]
macro_rules! abi {
    (
        $(#[$meta:meta])*
        $name:ident, $size:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(C)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)+
        }

        const _: () = assert!(size_of::<$name>() == $size, "the size differs from what is written");
        const _: () = assert!(0 $(+ $crate::abi::size::<$type>())+ == $size, "padding that is not written out");

        // SAFETY: `repr(C)`, `Copy`, fields are integers and byte arrays (`size` takes no other), and the sum of their
        // sizes is the size of the whole, so there is no padding to leak and every bit pattern is a value.
        #[cfg(feature = "user")]
        #[allow(unsafe_code, reason = "the one place where the contract's types are declared plain")]
        unsafe impl ::aya::Pod for $name {}
    };
}
