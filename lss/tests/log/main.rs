//! The log from outside: round trips, crashes, failures of the disk, damage.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod contents;
mod copies;
mod crash;
mod damage;
mod descriptors;
mod directory;
mod driver;
mod faults;
mod foreign;
mod links;
mod opening;
mod passing;
mod random;
mod readers;
mod round_trip;
mod waiting;
