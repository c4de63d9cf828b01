//! Tests of the real program, from its command line to its exit code.

#[cfg(test)]
mod care;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod run;
#[cfg(test)]
mod traces;
