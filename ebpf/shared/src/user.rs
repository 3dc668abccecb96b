//! The impls that let aya read and write the map types. The only unsafe code of this crate.
#![allow(unsafe_code)]

use crate::{
    AddressWord, Affinity, AffinityKey, Backend, ClientAddresses, Frontend, FrontendKey, OptionsWord, Origin,
    RangeData, RangeKey, ReplyKey, SetWord,
};

macro_rules! pod {
    ($($name:ty),*) => {$(
        // SAFETY: `aya::Pod` asks for a type whose every byte is initialised and may be copied; the type derives zerocopy's
        // `IntoBytes` (no padding) and `FromBytes` (every bit pattern is a value), is `Copy` and holds no pointer.
        unsafe impl aya::Pod for $name {}
    )*};
}
pod!(
    AddressWord,
    Affinity,
    AffinityKey,
    Backend,
    ClientAddresses,
    Frontend,
    FrontendKey,
    OptionsWord,
    Origin,
    RangeData,
    RangeKey,
    ReplyKey,
    SetWord
);
