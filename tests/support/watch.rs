//! A test that hangs says where, and ends.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ends the process if nothing was reported for too long.
#[derive(Debug)]
pub struct Watch {
    reports: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches for reports that come at least this often.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        let (sender, reports) = channel();
        let thread = std::thread::spawn(move || {
            let mut last = String::new();
            loop {
                match reports.recv_timeout(patience) {
                    Ok(report) => last = report,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        // Not what the harness captures: that ends with the process, unread.
                        let told = format!("nothing has happened for {patience:?} in: {last}\n");
                        let _untold = std::io::stderr().write_all(told.as_bytes());
                        std::process::abort();
                    }
                }
            }
        });
        Self { reports: Some(sender), thread: Some(thread) }
    }

    /// Says what is done next.
    pub fn report(&self, what: String) {
        if let Some(reports) = &self.reports {
            let _gone = reports.send(what);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reports = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
