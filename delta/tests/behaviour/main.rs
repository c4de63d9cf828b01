//! The crate against naive models, on many random and many nasty pages.

mod codec;
mod damage;
mod fold;
mod inner;
mod model;
mod search;
mod split;
