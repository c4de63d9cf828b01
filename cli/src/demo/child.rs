//! The parent's hold on a writing child: starting it, hearing it, killing it.

use super::plan::Plan;
use super::protocol::{Message, join};
use super::side::Which;
use crate::failure::{Context, Failure, Outcome};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// This program, to be run again with another verb.
pub(crate) fn program(verb: &str) -> Outcome<Command> {
    let path = std::env::current_exe().context("cannot find this program to run it again")?;
    let mut command = Command::new(path);
    command.arg(verb);
    Ok(command)
}

/// A writing child. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
    messages: Receiver<Message>,
}

/// What came of waiting for a message.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    Nothing,
    /// The child has closed its end: it is finished or dead.
    End,
}

impl Writer {
    /// Starts a child that writes into `side` below `dir`, from the given positions on.
    pub(crate) fn start(
        plan: &Plan,
        dir: &Path,
        side: Which,
        from: Option<&[u64]>,
        upto: Option<u64>,
        hold_back: bool,
    ) -> Outcome<Self> {
        let mut command = program("demo-writer")?;
        plan.pass(&mut command, dir);
        command.arg("--side").arg(side.name());
        if let Some(from) = from {
            command.arg("--from").arg(join(from));
        }
        if let Some(upto) = upto {
            command.arg("--upto").arg(upto.to_string());
        }
        if hold_back {
            command.arg("--hold-back");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the process that writes")?;
        let (sender, messages) = channel();
        let Some(stdout) = child.stdout.take() else {
            return Err(Failure::new("the process that writes has no stdout"));
        };
        thread::spawn(move || {
            let mut input = BufReader::new(stdout);
            let mut line = String::new();
            while input.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(message) = Message::from_line(&line)
                    && sender.send(message).is_err()
                {
                    break;
                }
                line.clear();
            }
        });
        Ok(Self { child, messages })
    }

    pub(crate) fn hear(&self, wait: Duration) -> Heard {
        match self.messages.recv_timeout(wait) {
            Ok(message) => Heard::Message(message),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Kills the child (SIGKILL where there are signals). What it had said before is still heard.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child.kill().context("cannot kill the process that writes")
    }

    pub(crate) fn wait(&mut self) -> Outcome<ExitStatus> {
        self.child.wait().context("cannot wait for the process that writes")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Both fail only when the child is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
