//! The contract between kernel and userspace: map keys and values, outcomes, capacities.
//!
//! Owns: every type and number that both sides must agree on. Goes in: nothing. Comes out: types for `lb-ebpf`, which
//! runs in the kernel, and for `lb-userspace`, which fills and reads its maps.
//! Does not do: any system call; `core` only. `aya` is named behind the feature `user`, for `Pod`.

#![no_std]
#![deny(unsafe_code)]

pub mod abi;
pub mod addr;
pub mod lookup;
pub mod maps;
pub mod outcome;
pub mod splice;
